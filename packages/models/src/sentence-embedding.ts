import { SchemeError, type Tensor } from '@q/core';

/** The way to make one vector from the hidden states of a sequence. */
export type PoolingMode = 'cls' | 'mean' | 'max' | 'mean_sqrt_len' | 'lasttoken';

export type SentenceModule =
  /** The vectors of several modes are concatenated. */
  | { readonly kind: 'pooling'; readonly modes: readonly PoolingMode[] }
  | { readonly kind: 'normalize' }
  | {
      readonly kind: 'dense';
      /** `[out, in]` */
      readonly weight: Tensor<'f32'>;
      readonly bias?: Float32Array;
      readonly activation: 'identity' | 'tanh';
    };

/** The steps of a sentence-transformers folder after the model's hidden states. */
export interface SentenceModules {
  readonly modules: readonly SentenceModule[];
  /** Tokens of a sequence, with the special tokens. */
  readonly maxLength?: number;
  /** A description for reports: `modules.json: mean, normalize`. */
  readonly name: string;
}

/** The steps of sentence-transformers for a model without modules.json. */
export const meanOfTokens: SentenceModules = {
  modules: [{ kind: 'pooling', modes: ['mean'] }],
  name: 'mean of the tokens (no modules.json)',
};

/**
 * Vectors of a batch of sequences of one length.
 * @param hidden last hidden states, `[count, length, width]`
 */
export function sentenceVectors(
  { modules }: SentenceModules,
  hidden: Float32Array,
  count: number,
  length: number,
): Float32Array[] {
  const width = hidden.length / (count * length);
  return Array.from({ length: count }, (_, index) => {
    const states = hidden.subarray(index * length * width, (index + 1) * length * width);
    let vector: Float32Array | undefined;
    for (const module of modules) {
      if (module.kind === 'pooling') vector = pooled(module.modes, states, width);
      else if (vector === undefined) throw new SchemeError(`modules.json: ${module.kind} comes before the pooling`);
      else vector = module.kind === 'normalize' ? normalized(vector) : dense(module, vector);
    }
    if (vector === undefined) throw new SchemeError('modules.json: has no pooling');
    return vector;
  });
}

function pooled(modes: readonly PoolingMode[], states: Float32Array, width: number): Float32Array {
  const length = states.length / width;
  const out = new Float32Array(modes.length * width);
  for (const [at, mode] of modes.entries()) {
    for (let j = 0; j < width; j++) out[at * width + j] = poolings[mode](states, width, length, j);
  }
  return out;
}

type Pooling = (states: Float32Array, width: number, length: number, feature: number) => number;

const sum: Pooling = (states, width, length, feature) => {
  let total = 0;
  for (let token = 0; token < length; token++) total += states[token * width + feature]!;
  return total;
};

const poolings: Readonly<Record<PoolingMode, Pooling>> = {
  cls: (states, _width, _length, feature) => states[feature]!,
  mean: (states, width, length, feature) => sum(states, width, length, feature) / length,
  mean_sqrt_len: (states, width, length, feature) => sum(states, width, length, feature) / Math.sqrt(length),
  max(states, width, length, feature) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let token = 0; token < length; token++) largest = Math.max(largest, states[token * width + feature]!);
    return largest;
  },
  lasttoken: (states, width, length, feature) => states[(length - 1) * width + feature]!,
};

export const poolingModes = Object.keys(poolings) as readonly PoolingMode[];

function normalized(vector: Float32Array): Float32Array {
  let square = 0;
  for (const value of vector) square += value * value;
  const norm = Math.max(Math.sqrt(square), 1e-12);
  return vector.map((value) => value / norm);
}

function dense(module: Extract<SentenceModule, { kind: 'dense' }>, vector: Float32Array): Float32Array {
  const { weight, bias, activation } = module;
  const [rows, columns] = weight.shape as [number, number];
  if (columns !== vector.length)
    throw new SchemeError(`modules.json: a dense layer of ${columns} inputs cannot take a vector of ${vector.length}`);
  return Float32Array.from({ length: rows }, (_, row) => {
    let value = bias?.[row] ?? 0;
    for (let j = 0; j < columns; j++) value += weight.data[row * columns + j]! * vector[j]!;
    return activation === 'tanh' ? Math.tanh(value) : value;
  });
}
