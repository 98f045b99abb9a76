import { FormatError } from '@q/core';
import type { Optimizer } from './optimizers/optimizer.js';
import { readMemory, type StepMemory, writeMemory } from './step-memory.js';

/** The state of a training, in addition to its parameters and its optimizer. */
export interface TrainingState {
  /** Steps taken. */
  step: number;
  bestLoss: number;
  /** Evaluations of the held-out windows since the best one. */
  sinceBest: number;
  /** Parameters of the best step, by name. */
  readonly best: Map<string, Float32Array>;
  /** Losses of the last steps, in f32. */
  recent: number[];
  /** Memory of the first step. */
  memory?: StepMemory;
}

/** Everything that a training needs to continue, as arrays by name. */
export function writeState(
  parameters: ReadonlyMap<string, Float32Array>,
  optimizer: Optimizer,
  state: TrainingState,
): Map<string, Float32Array> {
  const group = (name: string, values: ReadonlyMap<string, Float32Array>) =>
    [...values].map(([key, data]): [string, Float32Array] => [`${name}/${key}`, data]);
  return new Map([
    ['progress', Float32Array.of(state.step, state.bestLoss, state.sinceBest)],
    ['recent losses', Float32Array.from(state.recent)],
    ...(state.memory ? [['memory', writeMemory(state.memory)] as const] : []),
    ...group('parameters', parameters),
    ...group('optimizer', optimizer.save()),
    ...group('best', state.best),
  ]);
}

/**
 * Restores a saved state.
 * @throws FormatError naming the first parameter that the checkpoint does not have, or has in another size
 */
export function readState(
  saved: ReadonlyMap<string, Float32Array>,
  parameters: ReadonlyMap<string, Float32Array>,
  optimizer: Optimizer,
  state: TrainingState,
): void {
  const group = (name: string) =>
    new Map(
      [...saved]
        .filter(([key]) => key.startsWith(`${name}/`))
        .map(([key, data]): [string, Float32Array] => [key.slice(name.length + 1), data]),
    );
  const found = group('parameters');
  for (const [name, values] of parameters) {
    const data = found.get(name);
    if (data?.length !== values.length)
      throw new FormatError(
        `the training checkpoint has ${data ? `${data.length} values` : 'nothing'} for ${name}, ${values.length} were expected: it belongs to another training`,
      );
    values.set(data);
  }
  const [step, bestLoss, sinceBest] = saved.get('progress') as Float32Array;
  const memory = saved.get('memory');
  Object.assign(state, { step, bestLoss, sinceBest, recent: [...(saved.get('recent losses') ?? [])] });
  if (memory) state.memory = readMemory(memory);
  for (const [name, values] of group('best')) state.best.set(name, values.slice());
  optimizer.load(group('optimizer'));
}
