/**
 * `pnpm figures:gguf [--markdown]` prints the figures of GGUF's block types on llama-5m: bits per weight, relative
 * error of the linears, perplexity and KL divergence over the 60 windows. Every linear of the blocks is rounded, except
 * one that no type fits (rows of 688 are not whole blocks).
 */
import { parseArgs } from 'node:util';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { type BlockFormat, type Tensor, tensor } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { q4_0, q4_1, q4_K, q5_0, q5_1, q5_K, q6_K, q8_0 } from '@q/gguf';
import { createForwardEngine, createWasmKernels } from '@q/kernels-wasm';
import { openSubject } from './subject.js';

const { values } = parseArgs({ options: { markdown: { type: 'boolean', default: false } } });
const { folder, valid } = await openSubject('llama-5m');
const checkpoint = await openCheckpoint(folder, [gptqLayout()]);
const { model } = checkpoint;
if (!model) throw new Error(`${folder}: unknown architecture`);
const names = model.blocks
  .flatMap(({ linears }) => linears.map(({ module }) => `${module}.weight`))
  .filter((name) => (model.expected.get(name)?.[1] ?? 0) % 256 === 0);
const weights = new Map<string, Tensor<'f32'>>();
for (const name of names) weights.set(name, await checkpoint.weight(name));

const kernels = await createWasmKernels();
const engine = await createForwardEngine();
const original = await runWindows(model, engine, checkpoint.weight, valid);
const row = (cells: readonly string[]) =>
  values.markdown
    ? `| ${cells.join(' | ')} |`
    : cells.map((cell, i) => (i === 0 ? cell.padEnd(6) : cell.padStart(11))).join('');
console.log(row(['type', 'bits', 'error', 'perplexity', 'KL']));
if (values.markdown) console.log(row(['---', '---', '---', '---', '---']));
const { perplexity } = await evaluate(original, valid);
console.log(row(['bf16', '16', '0', perplexity.toFixed(4), '0']));
for (const format of [q8_0, q6_K, q5_K, q5_1, q5_0, q4_K, q4_1, q4_0]) {
  let [off, all] = [0, 0];
  const rounded = new Map<string, Tensor<'f32'>>();
  for (const [name, weight] of weights) {
    const back = roundTrip(format, weight);
    rounded.set(name, back);
    for (const [i, x] of weight.data.entries()) {
      off += (x - back.data[i]) ** 2;
      all += x ** 2;
    }
  }
  const source = await runWindows(
    model,
    engine,
    async (name) => rounded.get(name) ?? (await checkpoint.weight(name)),
    valid,
  );
  const { perplexity, kl = Number.NaN } = await evaluate(source, valid, { against: original });
  const bits = (8 * format.bytes) / format.values;
  console.log(row([format.name, `${bits}`, Math.sqrt(off / all).toFixed(5), perplexity.toFixed(4), kl.toFixed(5)]));
}
await engine.dispose();
await kernels.dispose();
await checkpoint.close();

function roundTrip(format: BlockFormat, { shape, data }: Tensor<'f32'>): Tensor<'f32'> {
  const out = new Uint8Array((data.length / format.values) * format.bytes);
  if (!kernels.blocks.encode({ format, source: { dtype: 'f32', data }, out })) throw new Error('values are not finite');
  const back = new Float32Array(data.length);
  format.decode(out, back);
  return tensor('f32', shape, back);
}
