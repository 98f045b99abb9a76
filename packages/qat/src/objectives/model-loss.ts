import {
  type DifferentiableOps,
  languageModel,
  type ModelDescription,
  type Runtime,
  SchemeError,
  type TokenWindows,
} from '@q/core';
import { runBlock } from '@q/models';

/** The weights of the parts of the loss. At least one weight is above 0. */
export interface LossWeights {
  /** Mean negative log likelihood of the next token. */
  readonly labels: number;
  /** Mean KL(teacher || model) over all positions, in nats. */
  readonly teacher: number;
}

/** Gives a teacher's logits `[tokens, vocabulary]` of some windows. It is called inside a scope of the engine. */
export interface Teacher<T> {
  readonly vocabularySize: number;
  /** Bytes that it keeps on the host. */
  readonly bytes?: number;
  logits(windows: Int32Array): T;
}

/**
 * Makes the unquantized model its own teacher. Its last hidden states are computed once and kept on the host, so logits
 * need only one product. This takes `4 * tokens * hiddenSize` bytes instead of a second forward pass each step.
 */
export async function selfTeacher<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  windows: TokenWindows,
  batch: number,
  onBatch: (done: number) => Promise<void> = async () => {},
): Promise<Teacher<T>> {
  const { ops } = runtime;
  const { count, length } = windows;
  const rowSize = length * model.hiddenSize;
  const hidden = new Float32Array(count * rowSize);
  for (let start = 0; start < count; start += batch) {
    const size = Math.min(batch, count - start);
    const indices = Int32Array.from({ length: size }, (_, i) => start + i);
    const result = ops.scope(() => lastHidden(model, runtime, pick(windows, indices), size, length));
    hidden.set(await ops.data(result), start * rowSize);
    ops.dispose(result);
    await onBatch(start + size);
  }
  return {
    vocabularySize: model.vocabularySize,
    bytes: hidden.byteLength,
    logits(indices) {
      const chosen = new Float32Array(indices.length * rowSize);
      indices.forEach((window, i) => {
        chosen.set(hidden.subarray(window * rowSize, (window + 1) * rowSize), i * rowSize);
      });
      const logits = languageModel(model, 'the loss').logits(
        runtime,
        ops.fromF32(chosen, [indices.length, length, model.hiddenSize]),
      );
      return ops.reshape(logits, [indices.length * length, model.vocabularySize]);
    },
  };
}

/** @throws SchemeError when the teacher's vocabulary differs from the model's */
export function checkTeacher<T>(model: ModelDescription, teacher: Teacher<T>): void {
  if (teacher.vocabularySize === model.vocabularySize) return;
  throw new SchemeError(
    `the teacher has a vocabulary of ${teacher.vocabularySize} tokens, the model one of ${model.vocabularySize}: distillation needs the same tokenizer`,
  );
}

/** The ids of some windows, one window after another. */
export function pick({ ids, length }: TokenWindows, windows: Int32Array): Int32Array {
  const out = new Int32Array(windows.length * length);
  windows.forEach((window, i) => {
    out.set(ids.subarray(window * length, (window + 1) * length), i * length);
  });
  return out;
}

/** Hidden states after the last block, before the final norm. */
export function lastHidden<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  ids: Int32Array,
  batch: number,
  length: number,
): T {
  let hidden = model.embed(runtime, ids, batch, length);
  for (const block of model.blocks) hidden = runBlock(block, runtime, hidden);
  return hidden;
}

/** The next token of every position; -1 at the end of each window. */
export function nextTokens(ids: Int32Array, length: number): Int32Array {
  const targets = new Int32Array(ids.length);
  for (let i = 0; i < ids.length; i++) targets[i] = (i + 1) % length === 0 ? -1 : ids[i + 1];
  return targets;
}

/**
 * Values of the logits that are computed at once, 16 MB. For each operation glibc takes blocks above 32 MB from the
 * system and returns them afterwards. At 2,048 tokens and a vocabulary of 4,096 this cost as much as the operations.
 */
export const logitsAtOnce = 2 ** 22;

/** The targets with which the loss compares the logits of a batch. */
export interface HeadTargets<T> {
  /** `[batch * length]` */
  readonly ids: Int32Array;
  readonly length: number;
  readonly weights: LossWeights;
  /** Logits `[windows * length, vocabulary]` of windows `first` to `first + windows` of the batch. */
  readonly teacher?: (first: number, windows: number) => T;
}

/**
 * The weighted loss of hidden states `[batch, length, hidden]`, a scalar. Logits are computed for some windows at a
 * time.
 * @throws SchemeError when no part of the loss has a weight, or the teacher's part has one and there is no teacher
 */
export function headLoss<T>(
  ops: DifferentiableOps<T>,
  model: ModelDescription,
  runtime: Runtime<T>,
  hidden: T,
  { ids, length, weights, teacher }: HeadTargets<T>,
): T {
  if (!(weights.labels > 0 || weights.teacher > 0))
    throw new SchemeError('the loss has no part: give labels or teacher a weight above 0');
  if (weights.teacher > 0 && !teacher)
    throw new SchemeError(
      'the loss has a weight for a teacher, but there is no teacher: give one, or set the weight to 0',
    );
  const count = ids.length / length;
  const atOnce = Math.max(1, Math.floor(logitsAtOnce / (length * model.vocabularySize)));
  const lossOf = (first: number, windows: number): T =>
    ops.scope(() => {
      const states = windows === count ? hidden : ops.rows(hidden, first, windows);
      const logits = ops.reshape(languageModel(model, 'the loss').logits(runtime, states), [
        windows * length,
        model.vocabularySize,
      ]);
      // All windows have the same number of positions, so the mean over all positions is the mean of the windows'
      // means.
      const share = windows / count;
      const parts: T[] = [];
      if (weights.labels > 0) {
        const targets = nextTokens(ids.subarray(first * length, (first + windows) * length), length);
        parts.push(ops.scale(ops.crossEntropy(logits, targets), weights.labels * share));
      }
      if (weights.teacher > 0 && teacher)
        parts.push(ops.scale(ops.klDivergence(logits, teacher(first, windows)), weights.teacher * share));
      return parts.length === 1 ? parts[0] : ops.add(parts[0], parts[1]);
    });
  let loss = lossOf(0, Math.min(atOnce, count));
  for (let first = atOnce; first < count; first += atOnce)
    loss = ops.add(loss, lossOf(first, Math.min(atOnce, count - first)));
  return loss;
}
