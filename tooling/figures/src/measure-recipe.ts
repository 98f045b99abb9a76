import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Checkpoint, gptqLayout, openCheckpoint, type QuantizedLayout } from '@q/checkpoint';
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
import { evaluate, runWindows } from '@q/eval';
import { planRun, type Recipe, runPlan } from '@q/pipeline';
import { type BackendChoice, createEngine } from '@q/tfjs';
import type { Subject } from './subject.js';

export interface MeasuredRun {
  readonly perplexity: number;
  readonly kl: number;
  /** Of quantizing, load and save included. */
  readonly seconds: number;
  readonly bitsPerWeight: number;
  /** Parameters that training changed; 0 for methods that do not train. */
  readonly trainedParameters: number;
}

/** Asymmetric integers for the linears of the blocks, as all peers have them. */
export function asymmetric(bits: number, group: number) {
  return scheme({
    format: unsignedIntegers[bits - 2],
    granularity: group === -1 ? perChannel : perGroup(group),
    zeroPoint: 'integer',
  });
}

export interface MeasureOptions {
  /** In place of the one rule of the quantizer and its scheme. */
  readonly rules?: Recipe['rules'];
  /** Before quantization. */
  readonly transforms?: readonly ModelStep[];
  /** Default: the GPTQ layout. */
  readonly layout?: QuantizedLayout;
  /** 0 when absent. */
  readonly seed?: number;
  /** The best there is when absent. */
  readonly backend?: BackendChoice;
  readonly tuner?: Tuner;
  readonly progress?: (event: ProgressEvent) => void;
  /** Folder to write to; an unfinished run in it is continued. One in the temporary folder when absent. */
  readonly out?: string;
}

/** Quantizes a subject to disk, reads it back, and compares it with the original on the valid windows. */
export async function measureRecipe(
  { folder, calibration, valid }: Subject,
  quantizer: Quantizer,
  target: ReturnType<typeof scheme>,
  kernels: Kernels,
  options: MeasureOptions = {},
): Promise<MeasuredRun> {
  const { transforms = [], layout = gptqLayout(), seed = 0, backend = 'auto', tuner, progress } = options;
  const { out = join(tmpdir(), `q-figures-${process.pid}`) } = options;
  const source = await openCheckpoint(folder, [layout]);
  const rules = options.rules ?? [{ match: /^(?!lm_head$)/, quantizer, scheme: target }];
  const plan = planRun(source, { layout, transforms, rules, tuner, seed });
  const { seconds, layers } = await runPlan(plan, {
    out,
    context: createContext({ kernels, seed, progress }),
    calibration,
    engine: () => createEngine({ kernels, backend }),
  });
  const written = await openCheckpoint(out, [layout]);
  const engine = await createEngine({ kernels, backend });
  const logits = (checkpoint: Checkpoint) => {
    if (!checkpoint.model) throw new Error(`${folder}: unknown architecture`);
    return runWindows(checkpoint.model, engine, (tensor) => checkpoint.weight(tensor), valid);
  };
  const { perplexity, kl = Number.NaN } = await evaluate(await logits(written), valid, {
    against: await logits(source),
  });
  await engine.dispose();
  await source.close();
  await written.close();
  await rm(out, { recursive: true });
  const trainedParameters = layers[0].figures.trainedParameters ?? 0;
  return { perplexity, kl, seconds, bitsPerWeight: plan.bitsPerWeight, trainedParameters };
}
