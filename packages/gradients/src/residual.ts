import { FormatError } from '@q/core';

/**
 * The unsent part, in f64. f32 would lose a part of it at each step, and the sum of the sent values would drift away
 * from the sum of the gradients.
 */
export interface Residual {
  readonly values: Float64Array;
  /** Three f32 parts whose sum is the f64 value, since a checkpoint stores f32. */
  save(): ReadonlyMap<string, Float32Array>;
  load(state: ReadonlyMap<string, Float32Array>): void;
}

const parts = ['residual.high', 'residual.middle', 'residual.low'] as const;

export function createResidual(length: number): Residual {
  const values = new Float64Array(length);
  return {
    values,
    save() {
      const rest = values.slice();
      return new Map(
        parts.map((name): [string, Float32Array] => {
          const part = Float32Array.from(rest);
          for (let i = 0; i < length; i++) rest[i] -= part[i];
          return [name, part];
        }),
      );
    },
    load(state) {
      values.fill(0);
      // In order from the smallest part, each sum is exact.
      for (const name of parts.toReversed()) {
        const part = entryOf(state, name, length);
        for (let i = 0; i < length; i++) values[i] += part[i];
      }
    },
  };
}

/** @throws FormatError when the checkpoint has no such entry, or one of another length */
export function entryOf(state: ReadonlyMap<string, Float32Array>, name: string, length: number): Float32Array {
  const entry = state.get(name);
  if (entry?.length !== length)
    throw new FormatError(
      `the checkpoint has ${entry ? `${entry.length} values of ${name}` : `no ${name}`}, expected ${length}: it belongs to another training`,
    );
  return entry;
}
