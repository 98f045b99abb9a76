import type { Sequences } from '@q/calib';
import type { ForwardEngine, ModelDescription, Runtime, SequenceOutput, Tensor, TokenOutput } from '@q/core';
import { type SentenceModules, sentenceVectors } from '@q/models';
import { runBlocks, type WindowRunOptions } from './run-blocks.js';

/** Vectors of texts, or of their tokens, in the order of the texts. */
export interface TextVectors {
  /** `[count, width]`, row-major. */
  readonly values: Float32Array;
  readonly count: number;
  readonly width: number;
}

/** Computes sentence embeddings of texts: the last hidden states, pooled by the folder's modules. */
export function embedSequences<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  sequences: Sequences,
  { modules, ...options }: WindowRunOptions & { readonly modules: SentenceModules },
): Promise<TextVectors> {
  return vectors(model, engine, weight, sequences, {
    ...options,
    tensors: [],
    rows: (hidden, count, length) => sentenceVectors(modules, hidden, count, length),
  });
}

/**
 * Computes a classifier's scores of texts, or of each token of texts, the tokenizer's special ones among them.
 * `output` is the classifier of the model: `model.classifier` or `model.tokenClassifier`.
 * @returns vectors `[texts or tokens, output.size]`
 */
export function classifySequences<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  sequences: Sequences,
  { output, ...options }: WindowRunOptions & { readonly output: SequenceOutput | TokenOutput },
): Promise<TextVectors> {
  return vectors(model, engine, weight, sequences, {
    ...options,
    tensors: output.tensors,
    width: output.size,
    step: (runtime, hidden) => output.run(runtime, hidden),
    rows: (scores, count) => {
      const own = scores.length / count;
      return Array.from({ length: count }, (_, i) => scores.subarray(i * own, (i + 1) * own));
    },
  });
}

interface VectorOptions<T> extends WindowRunOptions {
  /** Names of tensors that are loaded in addition to those of the head. */
  readonly tensors: readonly string[];
  /**
   * Computes on the engine from the last hidden states `[count, length, hidden]`. Default: the hidden states
   * themselves.
   */
  step?(runtime: Runtime<T>, hidden: T): T;
  /** Values of a vector. Default: all of a sequence's row. */
  readonly width?: number;
  /** One row for each sequence of a batch, from the last values on the engine. */
  rows(values: Float32Array, count: number, length: number): readonly Float32Array[];
}

async function vectors<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  sequences: Sequences,
  { tensors, width: own, step = (_, hidden) => hidden, rows, ...options }: VectorOptions<T>,
): Promise<TextVectors> {
  const walk = await runBlocks(model, engine, weight, sequences, options);
  const found: Float32Array[] = [];
  try {
    await walk.load([...model.headTensors, ...tensors], weight);
    for (const [index, { first, count, length }] of walk.windowBatches.entries()) {
      const values = await walk.output(index, (runtime, hidden) => step(runtime, model.finalNorm(runtime, hidden)));
      for (const [i, row] of rows(values, count, length).entries()) found[sequences.order[first + i]] = row;
    }
  } finally {
    walk.clearWeights();
    walk.dispose();
  }
  const values = new Float32Array(found.reduce((sum, row) => sum + row.length, 0));
  let filled = 0;
  for (const row of found) {
    values.set(row, filled);
    filled += row.length;
  }
  const width = own ?? found[0].length;
  return { values, count: values.length / width, width };
}
