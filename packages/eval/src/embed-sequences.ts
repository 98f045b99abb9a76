import type { Sequences } from '@q/calib';
import type { ForwardEngine, ModelDescription, Runtime, SequenceOutput, Tensor } from '@q/core';
import { type SentenceModules, sentenceVectors } from '@q/models';
import { runBlocks, type WindowRunOptions } from './run-blocks.js';

/** Vectors of texts, in the order of the texts. */
export interface TextVectors {
  /** `[count, width]`, row-major. */
  readonly values: Float32Array;
  readonly count: number;
  readonly width: number;
}

/** Sentence embeddings of texts: the last hidden states as the folder's modules pool them. */
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
    reduce: async (hidden, count, length) => sentenceVectors(modules, await engine.ops.data(hidden), count, length),
  });
}

/** Scores of a classifier for texts. */
export function classifySequences<T>(
  model: ModelDescription & { readonly classifier: SequenceOutput },
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  sequences: Sequences,
  options: WindowRunOptions = {},
): Promise<TextVectors> {
  const { classifier } = model;
  return vectors(model, engine, weight, sequences, {
    ...options,
    tensors: classifier.tensors,
    async reduce(hidden, count, _, runtime) {
      const scores = engine.ops.scope(() => classifier.run(runtime, hidden));
      const data = await engine.ops.data(scores);
      engine.ops.dispose(scores);
      return Array.from({ length: count }, (_, i) => data.subarray(i * classifier.size, (i + 1) * classifier.size));
    },
  });
}

interface VectorOptions<T> extends WindowRunOptions {
  /** Read beside those of the head. */
  readonly tensors: readonly string[];
  /** One row for each sequence of a batch, from its last hidden states `[count, length, hidden]`. */
  reduce(hidden: T, count: number, length: number, runtime: Runtime<T>): Promise<readonly Float32Array[]>;
}

async function vectors<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  sequences: Sequences,
  { tensors, reduce, ...options }: VectorOptions<T>,
): Promise<TextVectors> {
  const { ops } = engine;
  const states = await runBlocks(model, engine, weight, sequences, options);
  const found: Float32Array[] = [];
  await states.withWeights([...model.headTensors, ...tensors], async (runtime) => {
    for (const batch of states.batches) {
      options.signal?.throwIfAborted();
      const hidden = ops.scope(() => model.finalNorm(runtime, states.upload(batch)));
      const rows = await reduce(hidden, batch.count, batch.length, runtime);
      ops.dispose(hidden);
      for (const [i, row] of rows.entries()) found[sequences.order[batch.first + i]] = row;
    }
  });
  const width = found[0].length;
  const values = new Float32Array(found.length * width);
  for (const [i, row] of found.entries()) values.set(row, i * width);
  return { values, count: found.length, width };
}
