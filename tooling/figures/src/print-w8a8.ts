/**
 * `pnpm figures:w8a8 [MODEL ...] [--alpha 0.5] [--only NAME,NAME] [--samples 128] [--windows 60] [--factor 30]` prints
 * perplexity and KL to the original of models with quantized inputs. On integers: naive, SmoothQuant's O1 to O3 and its
 * per-channel variant, LLM.int8(). With FP8: per tensor, per token, with the bound of the Llama 3 report, and its whole
 * recipe. It measures the shared models with and without planted outlier channels, whose gains are multiplied by the
 * factor. Each model is written, read back and run from its folder. `--alphas` adds the grid of alpha.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Windows } from '@q/calib';
import {
  bitsandbytesInt8Layout,
  compressedTensorsInt8Layout,
  fbgemmFp8Layout,
  fp8Layout,
  openCheckpoint,
  type QuantizedLayout,
} from '@q/checkpoint';
import { absMax, createContext, type Kernels, llama3Bound, type ModelStep, type Quantizer, schemes } from '@q/core';
import { evaluate, type LogitsSource, runWindows } from '@q/eval';
import { inputExecution } from '@q/execution';

import { llmInt8, llmInt8Input, llmInt8Weight } from '@q/llm-int8';
import { planRun, type Rule, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { type Level, o1, o2, o3, perChannelPerToken, smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';
import { figureKernels } from './figure-kernels.js';
import { plantOutliers } from './planted-outliers.js';
import { openSubject, type Subject } from './subject.js';

interface Variant {
  readonly name: string;
  readonly rule: Omit<Rule, 'match'>;
  readonly transforms?: readonly ModelStep[];
  readonly layout: QuantizedLayout;
  /** Linears that stay as they are. */
  readonly kept?: readonly Rule[];
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    alpha: { type: 'string', default: '0.5' },
    alphas: { type: 'boolean', default: false },
    only: { type: 'string' },
    planted: { type: 'string' },
    factor: { type: 'string', default: '30' },
    samples: { type: 'string', default: '128' },
    windows: { type: 'string', default: '60' },
  },
});
const alpha = values.alpha === 'search' ? ('search' as const) : Number(values.alpha);
const narrow: Quantizer = rtn({ fit: absMax({ range: 'narrow' }) });
const integers = compressedTensorsInt8Layout();

const plain = (name: string, { weight, activation }: Level): Variant => ({
  name,
  rule: { quantizer: narrow, scheme: weight, activation },
  layout: integers,
});
const smooth = (name: string, level: Level, strength: number | 'search'): Variant => ({
  ...plain(name, level),
  transforms: [smoothquant({ alpha: strength, level })],
});
const mixed = (name: string, threshold: number): Variant => ({
  name,
  rule: { quantizer: llmInt8(), scheme: llmInt8Weight, activation: llmInt8Input(threshold) },
  layout: bitsandbytesInt8Layout(),
});

const fp8 = (name: string, wise: 'row' | 'tensor', bound?: number): Variant => ({
  name,
  rule: {
    quantizer: rtn({ fit: absMax() }),
    scheme: wise === 'row' ? schemes.fp8RowWise : schemes.fp8TensorWise,
    activation: {
      scheme: wise === 'row' ? schemes.activations.fp8RowWise : schemes.activations.fp8TensorWise,
      ...(bound === undefined ? {} : { bound }),
    },
  },
  layout: bound === undefined ? fp8Layout() : fbgemmFp8Layout(),
});

const grid = [0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const variants: readonly Variant[] = values.alphas
  ? [
      ...grid.flatMap((strength) => [
        smooth(`O1 alpha ${strength}`, o1, strength),
        smooth(`O3 alpha ${strength}`, o3, strength),
        smooth(`per channel alpha ${strength}`, perChannelPerToken, strength),
      ]),
      smooth('O1 alpha search', o1, 'search'),
      smooth('O3 alpha search', o3, 'search'),
      smooth('per channel alpha search', perChannelPerToken, 'search'),
    ]
  : [
      plain('naive, static', o3),
      plain('naive, dynamic', o2),
      plain('naive, per token', o1),
      plain('per channel, per token', perChannelPerToken),
      smooth('SmoothQuant O3', o3, alpha),
      smooth('SmoothQuant O2', o2, alpha),
      smooth('SmoothQuant O1', o1, alpha),
      smooth('SmoothQuant per channel', perChannelPerToken, alpha),
      mixed('vector-wise (threshold 0)', 0),
      mixed('LLM.int8()', 6),
      fp8('FP8 per tensor', 'tensor'),
      fp8('FP8 per token', 'row'),
      fp8('FP8 per token, bound', 'row', llama3Bound),
      {
        ...fp8('FP8 of Llama 3', 'row', llama3Bound),
        kept: [
          { match: '*', blocks: [0, -1], keep: true },
          { match: '*', only: ['query', 'key', 'value', 'output'], keep: true },
        ],
      },
    ];

async function originalLogits(folder: string, { valid }: Subject, kernels: Kernels) {
  const source = await openCheckpoint(folder, []);
  if (!source.model) throw source.unknownArchitecture as Error;
  const engine = await createEngine({ kernels });
  const logits = await runWindows(source.model, engine, (name) => source.weight(name), valid);
  return { logits, close: () => source.close() };
}

async function measure(
  variant: Variant,
  folder: string,
  { calibration, valid }: Subject,
  original: LogitsSource,
  kernels: Kernels,
) {
  const out = join(tmpdir(), `q-w8a8-${process.pid}`);
  const source = await openCheckpoint(folder, []);
  const { rule, transforms, layout, kept = [] } = variant;
  const plan = planRun(source, {
    layout,
    rules: [...kept, { match: /^(?!lm_head$)/, ...rule }],
    seed: 0,
    ...(transforms ? { transforms } : {}),
  });
  const { seconds } = await runPlan(plan, {
    out,
    context: createContext({ kernels }),
    calibration,
    engine: () => createEngine({ kernels }),
  });
  const written = await openCheckpoint(out, [layout]);
  if (!written.model) throw written.unknownArchitecture as Error;
  const engine = await createEngine({ kernels });
  const execution = await inputExecution(written, kernels);
  const started = performance.now();
  const model = await runWindows(written.model, engine, (name) => written.weight(name), valid, execution);
  const { perplexity, kl = Number.NaN } = await evaluate(model, valid, { against: original });
  const run = (performance.now() - started) / 1000;
  await engine.dispose();
  await source.close();
  await written.close();
  await rm(out, { recursive: true });
  return { perplexity, kl, seconds, run };
}

const kernels = await figureKernels();
console.log('model     outliers  variant                     perplexity         KL   quantize s   run s');
for (const name of positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m', 'opt-3m']) {
  const whole = await openSubject(name);
  const first = ({ ids, length }: Windows, count: number) => ({ ids: ids.subarray(0, count * length), count, length });
  const subject = {
    ...whole,
    calibration: first(whole.calibration, Math.min(whole.calibration.count, Number(values.samples))),
    valid: first(whole.valid, Math.min(whole.valid.count, Number(values.windows))),
  };
  const planted = join(tmpdir(), `q-planted-${process.pid}`);
  await plantOutliers(subject.folder, planted, 1, Number(values.factor));
  for (const [kind, folder] of [
    ['none', subject.folder],
    ['planted', planted],
  ] as const) {
    if (values.planted && values.planted !== kind) continue;
    const original = await originalLogits(folder, subject, kernels);
    for (const variant of variants) {
      if (values.only && !values.only.split(',').some((part) => variant.name.includes(part))) continue;
      const { perplexity, kl, seconds, run } = await measure(variant, folder, subject, original.logits, kernels);
      console.log(
        `${name.padEnd(9)} ${kind.padEnd(8)}  ${variant.name.padEnd(26)} ${perplexity.toFixed(4).padStart(11)}  ${kl.toFixed(6).padStart(9)}  ${seconds.toFixed(1).padStart(11)}  ${run.toFixed(1).padStart(6)}`,
      );
    }
    await original.close();
  }
  await rm(planted, { recursive: true });
}
await kernels.dispose();
