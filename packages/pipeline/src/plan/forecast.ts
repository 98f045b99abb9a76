import type { Checkpoint } from '@q/checkpoint';
import { elementCount, type LinearDescription, type ModelDescription, type Tuner } from '@q/core';
import { type Recipe, transformsOf } from '../recipe/recipe.js';
import { headTokens } from '../run/head-inputs.js';
import { hiddenStateBytes } from '../run/hidden-states.js';
import { isHead } from './embedding-tables.js';
import { pairedShare } from './paired-share.js';
import type { PlannedModule } from './plan.js';

/** The calibration that a plan counts with. */
export interface CalibrationShape {
  /** Windows, and tokens of each. */
  readonly count: number;
  readonly length: number;
  /** Windows at a time; by default {@link calibrationBatch}, and half of them where states wait on the disk. */
  readonly batch?: number;
  /** Bytes that the run may take: states wait on the disk where it is predicted to need more. Default: no limit. */
  readonly memory?: number;
}

/** Windows at a time: wide enough for the products, small enough for the engine's memory. */
export const calibrationBatch = 8;

/** What a run is going to need, estimated from shapes alone. */
export interface Forecast {
  /** Bytes by what holds them; `total` is the peak. */
  readonly memory: Readonly<Record<string, number>>;
  /** Bytes of activations that wait in the output folder, where they would not fit in memory beside the rest. */
  readonly disk?: number;
  /** Windows that are computed at a time. */
  readonly batch: number;
  readonly seconds: number;
}

/**
 * Rates that times are forecast with, per second: f32 operations of a product, of the solver's column sweep, bytes
 * of reading and writing, operations of a training step, and weights that are rounded with a search for their scales. Measured on two x86 cores with the wasm kernels; a forecast is good within a factor of two.
 */
const rates = { matmul: 40e9, solve: 8e9, stream: 250e6, training: 20e9, round: 30e6 };

/** The runtime itself: Node, the engine, the command. */
const baseBytes = 150e6;

export function forecast(
  checkpoint: Checkpoint,
  model: ModelDescription | undefined,
  recipe: Recipe,
  modules: readonly PlannedModule[],
  calibration?: CalibrationShape,
  tuner?: Tuner,
): Forecast {
  const streamed = checkpoint.bytes / rates.stream;
  if (!calibration || !model) {
    // Tensors that are copied go through in chunks, of which two are under way; of those that are rounded one is in memory at a time, and small ones are read ahead.
    let [largest, weights] = [0, 0];
    for (const { linear } of modules) {
      largest = Math.max(largest, roundingBytes(checkpoint, linear));
      weights += elementCount(shapeOf(linear));
    }
    const memory = { runtime: baseBytes, copies: 32e6, tensor: largest };
    return { memory: total(memory), batch: calibrationBatch, seconds: 1 + streamed + weights / rates.round };
  }
  const tokens = calibration.count * calibration.length;
  const blockElements = Math.max(
    ...model.blocks.map(({ linears }) => linears.reduce((sum, l) => sum + l.inFeatures * l.outFeatures, 0)),
  );
  // Methods that compare with the unquantized model run it beside the quantized one.
  const share = pairedShare(modules, tokens);
  const paired = share > 0;
  const streams = 1 + share;
  // Each transform sends the calibration batch through the block once more, beside the states that wait for the real walk.
  const transforms = transformsOf(recipe).length;
  const passes = streams + transforms;
  const widths = model.blocks.flatMap(({ linears }) => linears.map(({ inFeatures }) => inFeatures));
  const widest = Math.max(...widths);
  const activations = (streams + (transforms > 0 ? 1 : 0)) * 4 * tokens * (model.hiddenSize + widest);
  // What a tuner is left of the unquantized model; not where activations wait on the disk.
  const left = paired && tuner?.readsHiddenStates ? hiddenStateBytes(model.blocks.length, tokens, model.hiddenSize) : 0;
  const restOf = (batch: number) => ({
    runtime: baseBytes,
    block: ((paired ? 2 : 1) * 2 + (transforms > 0 ? 3 : 0)) * 4 * blockElements,
    // The Hessian in f64, its factor in f64 and f32, the damped Hessian; two cross products and their difference.
    statistics: (paired ? 44 : 24) * widest * widest,
    batch: 4 * batch * calibration.length * (widest * 4 + model.hiddenSize * 8),
  });
  /** Tables are in memory before the blocks are, and leave the engine's memory behind: the larger phase is the peak. */
  const withTables = (memory: Readonly<Record<string, number>>): Record<string, number> => {
    const walk = total(memory).total - baseBytes;
    return { ...memory, embeddings: Math.round(Math.max(tables.engine, tables.phase - walk)) };
  };
  const tables = tableBytes(checkpoint, model, modules);
  const usual = calibration.batch ?? calibrationBatch;
  const kept: Record<string, number> = left > 0 ? { hiddenStates: left } : {};
  const states = { activations, ...kept };
  const onDisk =
    total(withTables({ ...restOf(usual), ...states })).total > (calibration.memory ?? Number.POSITIVE_INFINITY);
  const batch = onDisk ? (calibration.batch ?? calibrationBatch / 2) : usual;
  const rest = restOf(batch);
  const memory = withTables(onDisk ? rest : { ...rest, ...states });
  const disk = onDisk ? { disk: activations } : {};
  let products = 0;
  let solves = 0;
  for (const block of model.blocks) {
    for (const { inFeatures, outFeatures } of block.linears) products += passes * 2 * tokens * inFeatures * outFeatures;
    for (const stage of block.stages) {
      const input = block.linears.find(({ module }) => module === stage.linears[0]);
      if (input) products += (1 + 3 * share + transforms) * tokens * input.inFeatures ** 2;
    }
    products += passes * 4 * tokens * calibration.length * model.hiddenSize;
  }
  let rounded = 0;
  for (const { linear, quantizer } of modules) {
    if (quantizer.needs.length === 0) rounded += elementCount(shapeOf(linear));
    else solves += linear.inFeatures ** 3 / 3 + (paired ? 10 : 2) * linear.outFeatures * linear.inFeatures ** 2;
    // One more pass, of the unquantized model, gives what the head reads.
    if (quantizer.needs.length > 0 && isHead(linear, model))
      products += 2 * Math.min(tokens, headTokens) * linearWeights(model);
  }
  const seconds = 2 + streamed + rounded / rates.round + products / rates.matmul + solves / rates.solve;
  if (!tuner) return { memory: total(memory), ...disk, batch, seconds };
  const training = tuner.forecast(model, modules, { count: calibration.count, length: calibration.length });
  // Quantizing is over, and its memory free, when training begins: the larger of the two is the peak.
  const trained: Record<string, number> = { runtime: baseBytes, ...training.memory, ...(onDisk ? {} : kept) };
  const larger = total(trained).total > total(memory).total ? trained : memory;
  return { memory: total(larger), ...disk, batch, seconds: seconds + training.operations / rates.training };
}

const shapeOf = ({ outFeatures, inFeatures }: LinearDescription): readonly number[] => [outFeatures, inFeatures];

const linearWeights = ({ blocks }: ModelDescription): number =>
  blocks.reduce((sum, { linears }) => sum + linears.reduce((own, each) => own + elementCount(shapeOf(each)), 0), 0);

/** Bytes of one value in the source's file; nothing where a rewrite makes the tensor. */
function storedBytes(checkpoint: Checkpoint, name: string): number {
  const entry = checkpoint.tensors.get(name);
  return entry ? (entry.end - entry.begin) / Math.max(1, elementCount(entry.shape)) : 0;
}

/** A weight while it is rounded: as it was read, in f32, its codes, and these packed. f32 is used as it was read. */
function roundingBytes(checkpoint: Checkpoint, linear: LinearDescription): number {
  const stored = storedBytes(checkpoint, `${linear.module}.weight`);
  return elementCount(shapeOf(linear)) * ((stored < 4 ? stored : 0) + 4 + 1 + 0.6);
}

/** Tables of embeddings in memory before the blocks are read, and what of it the engine keeps. */
function tableBytes(
  checkpoint: Checkpoint,
  model: ModelDescription,
  modules: readonly PlannedModule[],
): { readonly engine: number; readonly phase: number } {
  let [engine, phase] = [0, 0];
  const planned = new Set(modules.map(({ linear }) => `${linear.module}.weight`));
  for (const name of model.embeddingTensors) {
    const count = elementCount(model.expected.get(name) ?? []);
    const stored = storedBytes(checkpoint, name);
    engine += 4 * count;
    // Read and decoded; or decoded, as codes and as the values of these.
    phase += count * (4 + (planned.has(name) ? 4 + 1 + 4 : (stored < 4 ? stored : 0) + 4));
  }
  return { engine, phase };
}

function total(memory: Record<string, number>): Record<string, number> {
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}
