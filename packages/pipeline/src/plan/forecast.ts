import type { Checkpoint } from '@q/checkpoint';
import { elementCount, type ModelDescription, type Tuner } from '@q/core';
import { type Recipe, transformsOf } from '../recipe/recipe.js';
import { hiddenStateBytes } from '../run/hidden-states.js';
import { pairedShare } from './paired-share.js';
import type { PlannedModule } from './plan.js';

/** The calibration that a plan counts with. */
export interface CalibrationShape {
  readonly samples: number;
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
 * of reading, rounding and writing, and operations of a training step. Measured on two x86 cores with the wasm kernels; a forecast is good within a factor of two.
 */
const rates = { matmul: 40e9, solve: 8e9, stream: 250e6, training: 20e9 };

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
  // Not `Math.max(...)`: the arguments of a call are on the stack, and a file may have 400,000 tensors.
  let largest = 0;
  for (const { shape } of checkpoint.tensors.values()) largest = Math.max(largest, elementCount(shape));
  if (!calibration || !model) {
    const memory = { runtime: baseBytes, tensor: 4 * largest + 4 * largest };
    return { memory: total(memory), batch: calibrationBatch, seconds: 1 + streamed };
  }
  const tokens = calibration.samples * calibration.length;
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
  const usual = calibration.batch ?? calibrationBatch;
  const kept: Record<string, number> = left > 0 ? { hiddenStates: left } : {};
  const states = { activations, ...kept };
  const onDisk = total({ ...restOf(usual), ...states }).total > (calibration.memory ?? Number.POSITIVE_INFINITY);
  const batch = onDisk ? (calibration.batch ?? calibrationBatch / 2) : usual;
  const rest = restOf(batch);
  const memory = onDisk ? rest : { ...rest, ...states };
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
  for (const { linear } of modules)
    solves += linear.inFeatures ** 3 / 3 + (paired ? 10 : 2) * linear.outFeatures * linear.inFeatures ** 2;
  const seconds = 2 + streamed + products / rates.matmul + solves / rates.solve;
  if (!tuner) return { memory: total(memory), ...disk, batch, seconds };
  const training = tuner.forecast(model, modules, { count: calibration.samples, length: calibration.length });
  // Quantizing is over, and its memory free, when training begins: the larger of the two is the peak.
  const trained: Record<string, number> = { runtime: baseBytes, ...training.memory, ...(onDisk ? {} : kept) };
  const larger = total(trained).total > total(memory).total ? trained : memory;
  return { memory: total(larger), ...disk, batch, seconds: seconds + training.operations / rates.training };
}

function total(memory: Record<string, number>): Record<string, number> {
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}
