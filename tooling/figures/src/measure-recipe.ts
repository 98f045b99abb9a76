import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { gptqLayout, openCheckpoint, type QuantizedLayout } from '@q/checkpoint';
import {
  createContext,
  type Kernels,
  type ModelStep,
  type ProgressEvent,
  perChannel,
  perGroup,
  type Quantizer,
  scheme,
  type Tuner,
  unsignedIntegers,
} from '@q/core';
import { evaluate, type LogitsSource, runWindows } from '@q/eval';
import { planRun, type Recipe, runPlan } from '@q/pipeline';
import { type BackendChoice, createEngine } from '@q/tfjs';
import type { Subject } from './subject.js';

export interface MeasuredRun {
  readonly perplexity: number;
  readonly kl: number;
  /** Seconds of quantizing, with loading and saving. */
  readonly seconds: number;
  /** The same in processor seconds of all threads together. Other processes on the machine hardly change it. */
  readonly processorSeconds: number;
  readonly bitsPerWeight: number;
  /** Number of trained parameters; 0 for methods that do not train. */
  readonly trainedParameters: number;
  /** Figures of the first layer's report: for a training `steps`, `loss`, `secondsPerStep`. */
  readonly figures: Readonly<Record<string, number>>;
}

/** Asymmetric integers for the linears of the blocks, as in all peers. */
export function asymmetric(bits: number, group: number) {
  return scheme({
    format: unsignedIntegers[bits - 2],
    granularity: group === -1 ? perChannel : perGroup(group),
    zeroPoint: 'integer',
  });
}

export interface MeasureOptions {
  /** Replaces the single rule with the quantizer and its scheme. */
  readonly rules?: Recipe['rules'];
  /** Steps before quantization. */
  readonly transforms?: readonly ModelStep[];
  /** Default: the GPTQ layout. */
  readonly layout?: QuantizedLayout;
  /** Default: 0. */
  readonly seed?: number;
  /** Default: the best backend that is available. */
  readonly backend?: BackendChoice;
  readonly tuner?: Tuner;
  /** Replaces the subject's calibration windows. */
  readonly calibration?: Windows;
  readonly progress?: (event: ProgressEvent) => void;
  /** Folder for the result. An unfinished run in it is continued. Default: one in the temporary folder. */
  readonly out?: string;
  readonly signal?: AbortSignal;
}

/** Logits of the originals on their valid windows. Every line of a table is compared with the same logits. */
const originals = new WeakMap<Subject, Promise<LogitsSource>>();

async function originalLogits({ folder, valid }: Subject, kernels: Kernels, backend: BackendChoice) {
  const source = await openCheckpoint(folder, []);
  if (!source.model) throw new Error(`${folder}: unknown architecture`);
  const engine = await createEngine({ kernels, backend });
  const computed = await runWindows(source.model, engine, (tensor) => source.weight(tensor), valid);
  const batch = 4;
  const kept: Float32Array[] = [];
  for (let start = 0; start < valid.count; start += batch)
    kept.push(await computed.logits(start, Math.min(batch, valid.count - start)));
  await engine.dispose();
  await source.close();
  const { vocabularySize } = computed;
  const size = valid.length * vocabularySize;
  return {
    vocabularySize,
    async logits(first: number, count: number) {
      const batchOf = kept[Math.floor(first / batch)];
      const start = (first % batch) * size;
      if (start + count * size > batchOf.length) throw new RangeError(`${count} windows from ${first} cross a batch`);
      return batchOf.subarray(start, start + count * size);
    },
  };
}

/** Quantizes a subject to the disk, reads it back, and compares it with the original on the valid windows. */
export async function measureRecipe(
  subject: Subject,
  quantizer: Quantizer,
  target: ReturnType<typeof scheme>,
  kernels: Kernels,
  options: MeasureOptions = {},
): Promise<MeasuredRun> {
  const { transforms = [], layout = gptqLayout(), seed = 0, backend = 'auto', tuner, progress, signal } = options;
  const { folder, valid } = subject;
  const { calibration = subject.calibration, out = join(tmpdir(), `q-figures-${process.pid}`) } = options;
  const source = await openCheckpoint(folder, [layout]);
  const rules = options.rules ?? [{ match: /^(?!lm_head$)/, quantizer, scheme: target }];
  const plan = planRun(source, { layout, transforms, rules, tuner, seed });
  const before = process.cpuUsage();
  const { seconds, layers } = await runPlan(plan, {
    out,
    context: createContext({ kernels, seed, progress, signal }),
    calibration,
    engine: () => createEngine({ kernels, backend }),
  });
  const processorSeconds = processorSecondsSince(before);
  const written = await openCheckpoint(out, [layout]);
  const engine = await createEngine({ kernels, backend });
  if (!written.model) throw new Error(`${folder}: unknown architecture`);
  const logits = await runWindows(written.model, engine, (tensor) => written.weight(tensor), valid);
  let against = originals.get(subject);
  if (!against) {
    against = originalLogits(subject, kernels, backend);
    originals.set(subject, against);
  }
  const { perplexity, kl = Number.NaN } = await evaluate(logits, valid, { against: await against });
  await engine.dispose();
  await source.close();
  await written.close();
  await rm(out, { recursive: true });
  const { figures } = layers[0];
  const { trainedParameters = 0 } = figures;
  return { perplexity, kl, seconds, processorSeconds, bitsPerWeight: plan.bitsPerWeight, trainedParameters, figures };
}

/** Processor seconds of all threads of this process, user and system. */
export function processorSecondsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
