import type { BlockDescription, ModelDescription, TokenWindows, TunedModule, TunerForecast } from '@q/core';
import { SchemeError, tiling } from '@q/core';
import { logitsAtOnce } from './objectives/model-loss.js';
import type { Optimizer } from './optimizers/optimizer.js';

/** The properties of a training that decide its memory. */
export interface TrainingShape {
  readonly batch: number;
  readonly checkpointing: boolean;
  /** Bytes of optimizer state for a number of parameters. */
  readonly optimizer: Pick<Optimizer, 'stateBytes'>;
  /** Whether the weights themselves are trained, or only scales and zero points. */
  readonly weights: boolean;
  /** Whether the loss compares with the logits of a teacher. */
  readonly teacher: boolean;
  /** Whether one block at a time is trained against its own output. */
  readonly blockWise?: boolean;
}

/** Number of trained parameters: weights, and scales and zero points of every tile. */
export function trainedParameters(modules: readonly TunedModule[], weights: boolean): number {
  return modules.reduce((sum, { linear, scheme }) => {
    const shape = [linear.outFeatures, linear.inFeatures];
    const { scaleRows, scaleColumns } = tiling(scheme.granularity, shape);
    const tiles = scaleRows * scaleColumns * (weights && scheme.zeroPoint !== 'none' ? 2 : 1);
    return sum + tiles + (weights ? shape[0] * shape[1] : 0);
  }, 0);
}

/**
 * Bytes and operations of a training, predicted from shapes alone. Activations are the values that the tape keeps of
 * one token in one block, times tokens and blocks, plus the logits. With checkpointing the tape of only one block is
 * alive.
 */
export function forecastTraining(
  model: ModelDescription,
  modules: readonly TunedModule[],
  windows: Pick<TokenWindows, 'count' | 'length'>,
  shape: TrainingShape,
  steps: number,
): TunerForecast {
  const { length } = windows;
  const tokens = shape.batch * length;
  const elements = modules.reduce((sum, { linear }) => sum + linear.inFeatures * linear.outFeatures, 0);
  const parameters = trainedParameters(modules, shape.weights);
  const blocks = model.blocks.map((block) => 4 * tokens * keptWidth(block, model.hiddenSize, length));
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const logits = tokens * model.vocabularySize;
  const { kept, passing } = shape.teacher ? logitsOf.teacher : logitsOf.labels;
  const head = 4 * (kept * logits + passing * Math.min(logits, Math.max(logitsAtOnce, length * model.vocabularySize)));
  // With checkpointing a block runs again after the tape of the head is freed; the input of every block is kept until
  // then.
  const inputs = 4 * tokens * model.hiddenSize * blocks.length;
  const activations = shape.blockWise
    ? Math.max(...blocks)
    : shape.checkpointing
      ? Math.max(head, ...blocks) + inputs
      : sum(blocks) + head;
  const states = shape.blockWise ? 2 : shape.teacher ? 1 : 0;
  const memory: Record<string, number> = {
    // Trained values on the host, and the tensors made of them on the host and on the engine.
    parameters: 4 * parameters + 2 * 4 * elements,
    // Gradients by tensor, and by parameter.
    gradients: 4 * parameters + 4 * elements,
    optimizer: shape.optimizer.stateBytes(parameters),
    activations,
    teacher: states * 4 * windows.count * length * model.hiddenSize,
    frozen: 4 * 2 * model.vocabularySize * model.hiddenSize,
  };
  const perToken = 2 * (elements + model.vocabularySize * model.hiddenSize) + 4 * length * model.hiddenSize;
  return { memory, operations: steps * tokens * perToken * (shape.checkpointing ? 4 : 3) };
}

/**
 * Checks the prediction against a limit.
 * @throws SchemeError naming the predicted bytes and the largest batch that fits
 */
export function checkMemory(predict: (batch: number) => TunerForecast, batch: number, limit: number): void {
  const total = (of: number) => Object.values(predict(of).memory).reduce((sum, bytes) => sum + bytes, 0);
  if (total(batch) <= limit) return;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  let fits = batch - 1;
  while (fits > 0 && total(fits) > limit) fits--;
  throw new SchemeError(
    `training with batch ${batch} needs about ${megabytes(total(batch))}, ${megabytes(limit)} are allowed: ${
      fits > 0 ? `a batch of ${fits} fits, or turn on activation checkpointing` : 'not even a batch of 1 fits'
    }`,
  );
}

/** Bytes by their use. */
export interface TrainingMemory {
  readonly predicted: Readonly<Record<string, number>>;
  /** Bytes of the first step. Absent if the engine cannot measure them. */
  readonly measured?: Readonly<Record<string, number>>;
}

/**
 * The bytes as figures of a report: `activationsBytes` is the measured number, `activationsBytesPredicted` the
 * predicted one.
 */
export function memoryFigures({ predicted, measured }: TrainingMemory): Record<string, number> {
  if (!measured) return {};
  return Object.fromEntries(
    Object.entries(measured).flatMap(([name, bytes]) => [
      [`${name}Bytes`, bytes],
      [`${name}BytesPredicted`, predicted[name] ?? 0],
    ]),
  );
}

/** The measured bytes of {@link memoryFigures}, by their use; undefined if they were not measured. */
export function measuredBytes(figures: Readonly<Record<string, number>>): Record<string, number> | undefined {
  const found = Object.entries(figures).filter(([name]) => name.endsWith('Bytes'));
  return found.length > 0
    ? Object.fromEntries(found.map(([name, bytes]) => [name.slice(0, -'Bytes'.length), bytes]))
    : undefined;
}

/**
 * The most copies of the logits that tfjs was measured to hold: `kept` of all windows, until the backward pass has used
 * them, and `passing` of the windows whose logits are computed at once.
 */
const logitsOf = { teacher: { kept: 9, passing: 3 }, labels: { kept: 7, passing: 2 } };

/**
 * Values that the tape keeps of one token in a block: those of the stream and its norms, the outputs of linears with
 * the values computed from them, and the attention's probabilities (half a square, in blocks of 64 queries). The
 * factors were measured with tfjs on Llama, GPT-2 and OPT. An activation of many operations (GELU) keeps more than one
 * of few.
 */
function keptWidth({ linears, attention }: BlockDescription, hiddenSize: number, length: number): number {
  const widths = linears.reduce((sum, { outFeatures }) => sum + outFeatures, 0);
  const heads = attention?.heads ?? Math.max(4, Math.ceil(hiddenSize / 32));
  return 20 * hiddenSize + 5 * widths + 3 * heads * Math.min(length, (length + 64) / 2);
}

/** Describes bytes in words, the largest first. */
export function describeMemory({ memory }: TunerForecast): string {
  const parts = Object.entries(memory).sort(([, a], [, b]) => b - a);
  const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0);
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  return `${megabytes(total)} (${parts.map(([name, bytes]) => `${name} ${megabytes(bytes)}`).join(', ')})`;
}
