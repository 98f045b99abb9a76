import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows, type Windows } from '@q/calib';
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

/** A shared model with the windows that all peers were given. */
export interface Subject {
  readonly name: string;
  readonly folder: string;
  readonly calibration: Windows;
  readonly valid: Windows;
}

export async function openSubject(shared: string, name: string): Promise<Subject> {
  const folder = join(shared, 'models', name);
  const windows = async (file: string) => readU16Windows(await readFile(join(folder, file)), 256);
  return {
    name,
    folder,
    calibration: await windows('calib-128x256.u16'),
    valid: await windows('valid-60x256.u16'),
  };
}

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
