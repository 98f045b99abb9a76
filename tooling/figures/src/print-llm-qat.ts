/**
 * `pnpm figures:llm-qat [MODEL] [--settings 4-8-4,4-8-16] [--samples 128] [--epochs 20]`, with bits of weights, inputs
 * and cache (W-A-KV), compares LLM-QAT on text that the model writes itself with round-to-nearest and SmoothQuant at
 * the same bits. Weights have one scale per output channel, inputs and cache one per token, all symmetric. Models are
 * scored with inputs and cache quantized.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cutWindows } from '@q/calib';
import { type Checkpoint, openCheckpoint, plainLayout } from '@q/checkpoint';
import {
  absMax,
  createContext,
  f32Scale,
  type ModelStep,
  perChannel,
  perToken,
  type Quantizer,
  type Scheme,
  scheme,
  signedIntegers,
  type Tuner,
} from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { planRun, runPlan, writtenText } from '@q/pipeline';
import { llmQat, quantizedRuntime } from '@q/qat';
import { rtn } from '@q/rtn';
import { smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';
import { openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    settings: { type: 'string', default: '4-8-4' },
    samples: { type: 'string', default: '128' },
    length: { type: 'string', default: '256' },
    windows: { type: 'string', default: '60' },
    epochs: { type: 'string', default: '20' },
    methods: { type: 'string', default: 'rtn,smoothquant,gptq,llm-qat,llm-qat minMax' },
    engine: { type: 'string', default: 'auto' },
  },
});

const [samples, windows, length] = [Number(values.samples), Number(values.windows), Number(values.length)];
const epochs = Number(values.epochs);
const backend = values.engine as 'auto';
const name = positionals[0] ?? 'llama-5m';
const { folder, calibration, valid } = await openSubject(name);
const given = cutWindows(calibration.ids, length, { count: samples });
const scored = cutWindows(valid.ids, length, { count: windows });
const work = await mkdtemp(join(tmpdir(), 'q-llm-qat-'));
const kernels = await createWasmKernels();
const layout = plainLayout();
const engine = () => createEngine({ kernels, backend });
const context = createContext({
  kernels,
  progress: ({ task, done, total, note }) => process.stderr.write(`\r${task} ${done}/${total} ${note ?? ''}      `),
});

/** Undefined for 16 bits, which is unquantized. */
const perTokenBits = (bits: number): Scheme | undefined =>
  bits < 16
    ? scheme({ format: signedIntegers[bits - 2], granularity: perToken, scaleStorage: f32Scale, dynamic: true })
    : undefined;

const source = await openCheckpoint(folder, [layout]);
const original = source.model;
if (!original) throw source.unknownArchitecture as Error;

/** Logits of a checkpoint on the scored windows, with quantized inputs and cache. */
async function logitsOf(checkpoint: Checkpoint, activations?: Scheme, cache?: Scheme) {
  const { model } = checkpoint;
  if (!model) throw checkpoint.unknownArchitecture as Error;
  const own = await engine();
  return runWindows(model, own, (tensor) => checkpoint.weight(tensor), scored, {
    wrap: (runtime) => quantizedRuntime(runtime, model, { activations, cache }),
  });
}
const against = await logitsOf(source);

interface Method {
  readonly quantizer: Quantizer;
  readonly transforms?: readonly ModelStep[];
  readonly tuner?: Tuner;
  /** True: trains on text that the model writes. */
  readonly writes?: boolean;
}
const minMax = rtn({ fit: absMax({ range: 'narrow' }) });
const methods = (activations?: Scheme, cache?: Scheme): Record<string, Method> => ({
  rtn: { quantizer: minMax },
  smoothquant: { quantizer: minMax, transforms: [smoothquant()] },
  gptq: { quantizer: gptq() },
  'llm-qat': { quantizer: gptq(), tuner: llmQat({ activations, cache, epochs }), writes: true },
  'llm-qat minMax': {
    quantizer: minMax,
    tuner: llmQat({ activations, cache, epochs, weights: 'minMax' }),
    writes: true,
  },
});

const started = performance.now();
const written = values.methods.includes('llm-qat')
  ? await writtenText(source, { context, seed: 0, engine, count: samples, length })
  : undefined;
if (written)
  console.log(`${samples * length} tokens written in ${((performance.now() - started) / 1000).toFixed(1)} s`);
console.log(
  '| model | W-A-KV | method | text | perplexity | KL | seconds |\n| --- | --- | --- | --- | --- | --- | --- |',
);
for (const setting of values.settings.split(',')) {
  const [weights, inputs, kept] = setting.split('-').map(Number);
  const [activations, cache] = [perTokenBits(inputs), perTokenBits(kept)];
  const target = scheme({ format: signedIntegers[weights - 2], granularity: perChannel });
  for (const [method, { quantizer, transforms, tuner, writes }] of Object.entries(methods(activations, cache))) {
    if (!values.methods.split(',').includes(method)) continue;
    const out = join(work, `${setting} ${method}`);
    const rules = [{ match: /^(?!lm_head$)/, quantizer, scheme: target }];
    const plan = planRun(source, {
      layout,
      rules,
      seed: 0,
      ...(transforms ? { transforms } : {}),
      ...(tuner ? { tuner } : {}),
    });
    const { seconds } = await runPlan(plan, { out, context, calibration: writes ? written : given, engine });
    const quantized = await openCheckpoint(out, [layout]);
    const { perplexity, kl = Number.NaN } = await evaluate(await logitsOf(quantized, activations, cache), scored, {
      against,
    });
    await quantized.close();
    const text = writes ? 'its own' : plan.calibrated ? 'given' : 'none';
    console.log(
      `| ${name} | ${setting} | ${method} | ${text} | ${perplexity.toFixed(4)} | ${kl.toFixed(6)} | ${seconds.toFixed(1)} |`,
    );
  }
}
await source.close();
await kernels.dispose();
await rm(work, { recursive: true });
