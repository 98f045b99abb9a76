/**
 * Writes folders in which only weights are quantized, in every layout that transformers runs on a processor. Each has
 * the logits of our forward pass of the same codes, and of the original model: `make-weights.ts WORK`.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Checkpoint, openCheckpoint } from '@q/checkpoint';
import { runWindows } from '@q/eval';
import { createWasmKernels } from '@q/kernels-wasm';
import { createEngine } from '@q/tfjs';
import { builtin, readersOf } from '../../../packages/cli/src/registry.js';
import { runCommand } from '../files/run-command.js';

const out = process.argv[2];
const shared = process.env.QUANT_SHARED;
const models: Record<string, string> = {
  demo: fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url)),
  ...(shared
    ? Object.fromEntries(['llama-5m', 'gpt2-3m', 'opt-3m'].map((name) => [name, join(shared, 'models', name)]))
    : {}),
};
const kinds: Record<string, readonly string[]> = {
  'fp8-tensor': ['--layout', 'fp8', '--weights', 'fp8-tensor'],
  'fp8-row': ['--layout', 'fp8', '--weights', 'fp8-row'],
  'fp8-block': ['--layout', 'fp8', '--weights', 'fp8-block'],
  'w4a16-group': ['--layout', 'compressed-tensors', '--method', 'rtn', '--bits', '4', '--group', '32'],
  'w4a16-row': ['--layout', 'compressed-tensors', '--method', 'rtn', '--bits', '4', '--group', '-1'],
  'w8a16-row': ['--layout', 'compressed-tensors', '--method', 'rtn', '--bits', '8', '--group', '-1'],
  nf4: ['--layout', 'bitsandbytes-nf4'],
  'nf4-double': ['--layout', 'bitsandbytes-nf4', '--weights', 'nf4-double'],
  fp4: ['--layout', 'bitsandbytes-fp4'],
  'fp4-double': ['--layout', 'bitsandbytes-fp4', '--weights', 'bnb-fp4 flat 64, double scales'],
};

const kernels = await createWasmKernels();
const readers = readersOf(builtin);
await mkdir(out, { recursive: true });
for (const [name, folder] of Object.entries(models)) {
  const source = await openCheckpoint(folder, readers);
  const size = source.model?.vocabularySize as number;
  const ids = Int32Array.from({ length: 64 }, (_, i) => (i === 0 ? 0 : (i * 37 + 11) % size));
  const logits = async ({ model, unknownArchitecture, weight }: Checkpoint) => {
    if (!model) throw unknownArchitecture as Error;
    const engine = await createEngine({ kernels, backend: 'wasm' });
    const run = await runWindows(model, engine, weight, { ids, count: 1, length: ids.length });
    const values = await run.logits(0, 1);
    await engine.dispose();
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  };
  const original = await logits(source);
  const wholeBlocks = source.model?.blocks.every(({ linears }) =>
    linears.every(({ inFeatures }) => inFeatures % 64 === 0),
  );
  for (const [kind, options] of Object.entries(kinds)) {
    // transformers builds GPT-2 with Conv1D, which compressed-tensors does not support; the plan states this. On a
    // processor bitsandbytes 0.50 begins a block with each row, but files have blocks of the flattened weight. So it
    // decodes its own weights wrongly unless rows are whole blocks of 64.
    if (options[1].startsWith('bitsandbytes') && !wholeBlocks) continue;
    if (name === 'gpt2-3m' && !options[1].startsWith('bitsandbytes')) continue;
    const target = join(out, `${name}-${kind}`);
    await runCommand('quantize', folder, target, '--no-eval', ...options);
    const written = await openCheckpoint(target, readers);
    await writeFile(join(target, 'ids.json'), JSON.stringify([...ids]));
    await writeFile(join(target, 'logits.f32'), await logits(written));
    await writeFile(join(target, 'original.f32'), original);
    await written.close();
    console.log(`wrote ${name}-${kind}`);
  }
  await source.close();
}
await kernels.dispose();
