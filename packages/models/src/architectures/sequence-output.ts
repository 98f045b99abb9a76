import type { Activation, LinearDescription, Runtime, SequenceOutput, TokenOutput } from '@q/core';
import type { ConfigReader } from '../config-reader.js';
import { layerNorm } from './layer-norm.js';
import { linear } from './linear-description.js';

/** One step from a vector of a sequence, or of a token, to the next. */
export type OutputStep =
  | { readonly linear: string; readonly bias: boolean; readonly out: number }
  | { readonly activation: Activation }
  | { readonly norm: string; readonly bias: boolean; readonly epsilon: number };

/** The tensors of an output by name, with their shapes. */
export interface WithShapes {
  readonly shapes: readonly [string, readonly number[]][];
}

/**
 * A pooler or a classifier: steps on the hidden state of the first token or of the last one, or on the mean of all.
 * @param width of the hidden states
 */
export const sequenceOutput = (
  steps: readonly OutputStep[],
  width: number,
  pooling: keyof typeof poolings = 'first',
): SequenceOutput & WithShapes => ({
  ...readSteps(steps, width),
  run: (runtime, hidden) => runSteps(steps, runtime, poolings[pooling](runtime, hidden)),
});

/**
 * A classifier of tokens: the same steps on the hidden state of every token.
 * @param width of the hidden states
 */
export const tokenOutput = (steps: readonly OutputStep[], width: number): TokenOutput & WithShapes => ({
  ...readSteps(steps, width),
  run: (runtime, hidden) => runSteps(steps, runtime, hidden),
});

/** What steps read, and the size of their last vector. */
function readSteps(steps: readonly OutputStep[], width: number): WithShapes & Omit<SequenceOutput, 'run'> {
  const shapes: [string, readonly number[]][] = [];
  const linears: LinearDescription[] = [];
  let size = width;
  for (const step of steps) {
    if ('linear' in step) {
      linears.push(linear(step.linear, size, step.out, step.bias, 'head'));
      shapes.push([`${step.linear}.weight`, [step.out, size]]);
      if (step.bias) shapes.push([`${step.linear}.bias`, [step.out]]);
      size = step.out;
    } else if ('norm' in step) {
      shapes.push([`${step.norm}.weight`, [size]]);
      if (step.bias) shapes.push([`${step.norm}.bias`, [size]]);
    }
  }
  return { tensors: shapes.map(([name]) => name), shapes, linears, size };
}

function runSteps<T>(steps: readonly OutputStep[], runtime: Runtime<T>, vectors: T): T {
  let x = vectors;
  for (const step of steps) {
    if ('linear' in step) x = runtime.linear(step.linear, x);
    else if ('norm' in step) x = layerNorm(runtime, step.norm, x, step.epsilon);
    else x = runtime.ops.activation(step.activation, x);
  }
  return x;
}

/** `[batch, length, width]` -> `[batch, width]` */
function firstToken<T>({ ops }: Runtime<T>, hidden: T): T {
  const [batch, length, width] = ops.shape(hidden) as [number, number, number];
  if (length === 1) return ops.reshape(hidden, [batch, width]);
  const [first] = ops.split(ops.reshape(hidden, [batch, length * width]), [width, (length - 1) * width]);
  return first as T;
}

/** `[batch, length, width]` -> `[batch, width]` */
function lastToken<T>({ ops }: Runtime<T>, hidden: T): T {
  const [batch, length, width] = ops.shape(hidden) as [number, number, number];
  if (length === 1) return ops.reshape(hidden, [batch, width]);
  const [, last] = ops.split(ops.reshape(hidden, [batch, length * width]), [(length - 1) * width, width]);
  return last as T;
}

function meanToken<T>({ ops }: Runtime<T>, hidden: T): T {
  const [batch, length, width] = ops.shape(hidden) as [number, number, number];
  const mean = ops.fromF32(new Float32Array(length).fill(1 / length), [1, length]);
  return ops.reshape(ops.linear(ops.transpose(hidden), mean), [batch, width]);
}

const poolings = { first: firstToken, last: lastToken, mean: meanToken };

/** Whether config.json says that the checkpoint classifies sequences. */
export const classifiesSequences = (config: ConfigReader): boolean =>
  config.strings('architectures')?.some((name) => name.endsWith('ForSequenceClassification')) ?? false;

/** Whether config.json says that the checkpoint classifies tokens. */
export const classifiesTokens = (config: ConfigReader): boolean =>
  config.strings('architectures')?.some((name) => name.endsWith('ForTokenClassification')) ?? false;

/** The classifier of tokens that BERT and its relatives share: one linear. Empty if config.json states another head. */
export const linearTokenClassifier = (
  config: ConfigReader,
  hidden: number,
): { readonly tokenClassifier?: ReturnType<typeof tokenOutput> } =>
  classifiesTokens(config)
    ? { tokenClassifier: tokenOutput([{ linear: 'classifier', bias: true, out: labelCount(config) }], hidden) }
    : {};

/** Whether config.json states a head that is described, which means that names have the whole model's prefix. */
export const classifies = (config: ConfigReader): boolean => classifiesSequences(config) || classifiesTokens(config);

/** Number of classes: of `id2label`, or `num_labels`, or 2. */
export function labelCount(config: ConfigReader): number {
  const names = config.object('id2label').keys();
  return names.length > 0 ? names.length : config.positiveInteger('num_labels', 2);
}
