import type { Checkpoint } from '@q/checkpoint';
import { elementCount, type LinearDescription, type ModelDescription, outputMoments, type Tuner } from '@q/core';
import { type Recipe, transformsOf } from '../recipe/recipe.js';
import { headTokens } from '../run/head-inputs.js';
import { hiddenStateBytes } from '../run/hidden-states.js';
import { isHead } from './embedding-tables.js';
import { endLossCount } from './end-loss-count.js';
import { pairedShare } from './paired-share.js';
import type { PlannedModule } from './plan.js';

/** The calibration for which a plan predicts memory and time. */
export interface CalibrationShape {
  /** Windows, and tokens of each. */
  readonly count: number;
  readonly length: number;
  /** Windows at a time. Default: {@link calibrationBatch}, or half of it if states are on the disk. */
  readonly batch?: number;
  /** Bytes that the run may take. If the prediction is higher, states go to the disk. Default: no limit. */
  readonly memory?: number;
  /** What the engine of a model takes and computes. Default: {@link kernelEngine}. */
  readonly engine?: (model: ModelDescription) => EngineRates;
  /** Threads of the kernels and of the engine. Default: two. */
  readonly threads?: number;
}

/** Memory and speed of an engine, for forecasts. */
export interface EngineRates {
  /** Bytes in addition to its tensors. */
  readonly bytes: number;
  /** f32 operations of products in a second on two threads, in forward passes and in statistics. */
  readonly products: number;
  /** The same in training steps. */
  readonly training: number;
}

/**
 * The kernels' own engine. Products: 268 s for 15.2 TFLOP of the default GPTQ on SmolLM2-135M (128 windows of 256
 * tokens, two idle x86 cores).
 */
export const kernelEngine: EngineRates = { bytes: 0, products: 55e9, training: 20e9 };

/** Windows at a time: large enough for fast products, small enough for the engine's memory. */
export const calibrationBatch = 8;

/** Memory and time that a run needs, estimated from shapes alone. */
export interface Forecast {
  /** Bytes by their use; `total` is the peak. */
  readonly memory: Readonly<Record<string, number>>;
  /** Bytes of activations in files of the output folder, if they do not fit in memory with the rest. */
  readonly disk?: number;
  /** Windows that are computed at a time. */
  readonly batch: number;
  readonly seconds: number;
}

/**
 * Rates per second from which times are predicted: operations of a solver (factor, retarget, fit, sweep, refinement,
 * guard: 68 s for 915 GFLOP of SmolLM2-135M); weights that are rounded with a search for their scales; bytes of reading
 * and writing. They were measured on two x86 cores with the wasm kernels. A prediction is correct within a factor of
 * two.
 */
const rates = { solve: 13.5e9, round: 30e6, stream: 250e6 };

/** Two threads compute a product 1.81 times as fast as one thread: 77 and 42.5 GFLOP/s at 1,024. */
const speedupOf = (threads: number): number => (threads / 2) ** 0.85;

/** Bytes of the runtime itself: Node, the engine, the command. */
const baseBytes = 150e6;

/** The run for which memory and time are predicted. */
export interface ForecastInput {
  readonly checkpoint: Checkpoint;
  /** Absent for a checkpoint of an unknown architecture, whose weights can only be rounded. */
  readonly model?: ModelDescription;
  readonly recipe: Recipe;
  readonly modules: readonly PlannedModule[];
  /** Absent for a run that rounds the weights without inputs. */
  readonly calibration?: CalibrationShape;
  /** Threads of the kernels and of the engine. Default: two. */
  readonly threads?: number;
  /** Trains the quantized model after it is made. */
  readonly tuner?: Tuner;
  /** Names of tensors that rewrites of the recipe change; see `ModelSource`. */
  readonly rewritten?: { has(name: string): boolean };
}

/** Predicts memory and time of a run from shapes, before the run reads a weight. */
export function forecast(input: ForecastInput): Forecast {
  const { checkpoint, model, recipe, modules, calibration, tuner, threads = 2 } = input;
  const streamed = checkpoint.bytes / rates.stream;
  const speedup = speedupOf(threads);
  if (!calibration || !model) {
    // Copied tensors are read in chunks, of which two are in memory at a time. Of rounded tensors one is in memory at a
    // time, and small ones are read ahead.
    let [largest, weights] = [0, 0];
    for (const { linear } of modules) {
      largest = Math.max(largest, roundingBytes(checkpoint, linear));
      weights += elementCount(shapeOf(linear));
    }
    const memory = { runtime: baseBytes, copies: 32e6, tensor: largest };
    return {
      memory: total(memory),
      batch: calibrationBatch,
      seconds: 1 + streamed + weights / (rates.round * speedup),
    };
  }
  const tokens = calibration.count * calibration.length;
  const blockElements = Math.max(
    ...model.blocks.map(({ linears }) => linears.reduce((sum, l) => sum + l.inFeatures * l.outFeatures, 0)),
  );
  // Methods that compare with the unquantized model also run that model.
  const share = pairedShare(modules, tokens);
  const paired = share > 0;
  const streams = 1 + share;
  // Each transform runs the calibration batch through the block once more. The states for the main walk stay in memory
  // meanwhile.
  const transforms = transformsOf(recipe).length;
  const passes = streams + transforms;
  const widths = model.blocks.flatMap(({ linears }) => linears.map(({ inFeatures }) => inFeatures));
  const widest = Math.max(...widths);
  const activations = (streams + (transforms > 0 ? 1 : 0)) * 4 * tokens * (model.hiddenSize + widest);
  // Hidden states of the unquantized model that are kept for a tuner; none if activations are on the disk.
  const left = paired && tuner?.readsHiddenStates ? hiddenStateBytes(model.blocks.length, tokens, model.hiddenSize) : 0;
  const engine = calibration.engine?.(model) ?? kernelEngine;
  const engineBytes = engine.bytes;
  const endLoss = endLossBytes(model, modules, calibration);
  const restOf = (batch: number) => ({
    runtime: baseBytes,
    ...(engineBytes > 0 ? { engine: engineBytes } : {}),
    block: ((paired ? 2 : 1) * 2 + (transforms > 0 ? 3 : 0)) * 4 * blockElements,
    // The Hessian in f64, its factor in f64 and f32, the damped Hessian; two cross products and their difference.
    statistics: (paired ? 44 : 24) * widest * widest,
    ...(endLoss.moments > 0 ? { moments: endLoss.moments } : {}),
    batch: 4 * batch * calibration.length * (widest * 4 + model.hiddenSize * 8),
  });
  /**
   * Tables are in memory before the blocks are, and only the engine's part of them stays. The larger phase is the peak.
   */
  const withTables = (memory: Readonly<Record<string, number>>): Record<string, number> => {
    const walk = total(memory).total - baseBytes - engineBytes;
    return { ...memory, embeddings: Math.round(Math.max(tables.engine, tables.phase - walk)) };
  };
  const tables = tableBytes(input, model, tokens);
  const usual = calibration.batch ?? calibrationBatch;
  const kept: Record<string, number> = left > 0 ? { hiddenStates: left } : {};
  const states = { activations, ...kept };
  const onDisk =
    total(withTables({ ...restOf(usual), ...states })).total > (calibration.memory ?? Number.POSITIVE_INFINITY);
  const batch = onDisk ? (calibration.batch ?? calibrationBatch / 2) : usual;
  const rest = restOf(batch);
  const walk = withTables(onDisk ? rest : { ...rest, ...states });
  // The backward pass is over before the walk begins, but the process keeps its memory: SmolLM2-135M took 2.06 GB in the
  // pass, and 2.81 GB in the walk, which takes 1.5 GB without a pass before it.
  const gradients = endLoss.phase - endLoss.moments;
  const memory = gradients > 0 ? { ...walk, gradients } : walk;
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
    // Two rounds of coordinate descent across outputs.
    if (quantizer.endLoss?.outputs)
      solves += 4 * linear.outFeatures * linear.inFeatures * (linear.outFeatures + linear.inFeatures);
    // The inputs of the head come from one more pass, of the unquantized model.
    if (quantizer.needs.length > 0 && isHead(linear, model))
      products += 2 * Math.min(tokens, headTokens) * linearWeights(model);
  }
  products += endLossProducts(model, modules, calibration);
  const computed = rounded / rates.round + products / engine.products + solves / rates.solve;
  const seconds = 2 + streamed + computed / speedup;
  if (!tuner) return { memory: total(memory), ...disk, batch, seconds };
  const training = tuner.forecast(model, modules, { count: calibration.count, length: calibration.length });
  // When training begins, quantizing is finished and its memory is free: the larger of the two is the peak.
  const trained: Record<string, number> = { runtime: baseBytes, ...training.memory, ...(onDisk ? {} : kept) };
  const larger = total(trained).total > total(memory).total ? trained : memory;
  return {
    memory: total(larger),
    ...disk,
    batch,
    seconds: seconds + training.operations / (engine.training * speedup),
  };
}

/**
 * Bytes of the moments of outputs, which stay until the last block, and of the whole phase of the backward pass: the
 * weights in f32, the moments, the states between blocks of four windows, and three arrays of a window's logits.
 */
function endLossBytes(
  model: ModelDescription,
  modules: readonly PlannedModule[],
  { length }: CalibrationShape,
): { readonly moments: number; readonly phase: number } {
  const readers = modules.filter(({ quantizer }) => quantizer.endLoss);
  if (readers.length === 0) return { moments: 0, phase: 0 };
  let moments = 0;
  for (const { linear, quantizer } of readers)
    if (quantizer.endLoss?.outputs) moments += outputMoments.bytes(linear.outFeatures);
  let weights = 0;
  for (const shape of model.expected.values()) weights += 4 * elementCount(shape);
  const states = 4 * 4 * length * model.hiddenSize * (model.blocks.length + 1);
  return { moments, phase: weights + moments + states + 3 * 4 * length * model.vocabularySize };
}

/**
 * Operations of the end loss's derivatives: two forward passes and one backward pass, three products of the head, and
 * the moments of outputs.
 */
function endLossProducts(
  model: ModelDescription,
  modules: readonly PlannedModule[],
  { count, length }: CalibrationShape,
): number {
  const readers = modules.filter(({ quantizer }) => quantizer.endLoss);
  if (readers.length === 0) return 0;
  let moments = 0;
  for (const { linear, quantizer } of readers) if (quantizer.endLoss?.outputs) moments += linear.outFeatures ** 2;
  const perToken = 6 * (linearWeights(model) + model.vocabularySize * model.hiddenSize) + moments;
  return endLossCount(modules, count) * length * perToken;
}

const shapeOf = ({ outFeatures, inFeatures }: LinearDescription): readonly number[] => [outFeatures, inFeatures];

const linearWeights = ({ blocks }: ModelDescription): number =>
  blocks.reduce((sum, { linears }) => sum + linears.reduce((own, each) => own + elementCount(shapeOf(each)), 0), 0);

/** Bytes of one value in the source's file; 0 for a tensor that a rewrite makes. */
function storedBytes(checkpoint: Checkpoint, name: string): number {
  const entry = checkpoint.tensors.get(name);
  return entry ? (entry.end - entry.begin) / Math.max(1, elementCount(entry.shape)) : 0;
}

/**
 * Bytes of a weight while it is rounded: as stored in the file, in f32, its codes, and the packed codes. An f32 weight
 * needs no second copy.
 */
function roundingBytes(checkpoint: Checkpoint, linear: LinearDescription): number {
  const stored = storedBytes(checkpoint, `${linear.module}.weight`);
  return elementCount(shapeOf(linear)) * ((stored < 4 ? stored : 0) + 4 + 1 + 0.6);
}

/**
 * Bytes of tables of embeddings in memory before the blocks are read, and the part of them that the engine keeps.
 * @param tokens of the calibration: the table of tokens has at most one row for each
 */
function tableBytes(
  { checkpoint, modules, rewritten }: ForecastInput,
  model: ModelDescription,
  tokens: number,
): { readonly engine: number; readonly phase: number } {
  let [engine, phase] = [0, 0];
  const planned = new Set(modules.map(({ linear }) => `${linear.module}.weight`));
  for (const name of model.embeddingTensors) {
    const shape = model.expected.get(name) ?? [];
    const count = elementCount(shape);
    const stored = storedBytes(checkpoint, name);
    // The windows may be unknown, and their tokens may all be different.
    const used = name === model.tokenTable ? Math.min(1, tokens / shape[0]) * count : count;
    engine += 4 * used;
    const copied = used < count ? 4 * used : 0;
    phase += 4 * used;
    // A quantized table is in memory decoded, as codes, and as their values. Of a table of tokens that the file stores as
    // values only the used rows are decoded. Other tables are in memory as stored and decoded.
    if (planned.has(name)) phase += (4 + 1 + 4) * count + copied;
    else if (name === model.tokenTable && stored > 0 && !rewritten?.has(name)) phase += 4 * used;
    else phase += ((stored < 4 ? stored : 0) + 4) * count + copied;
  }
  return { engine, phase };
}

function total(memory: Record<string, number>): Record<string, number> {
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}
