import type { Activation } from '@q/core';
import type { Pool } from '../pool.js';
import { broadcast } from './broadcast.js';
import type { Value, Values } from './values.js';

export type MapKind = Activation | 'scale' | 'abs' | 'round' | 'clip';
/** The numbers of `mapVectors` and `mapGradient` for the functions. */
const maps: Record<MapKind, number> = {
  ...{ scale: 0, relu: 1, sigmoid: 2, silu: 3, gelu: 4, geluTanh: 5, abs: 6, round: 7, clip: 8, tanh: 9 },
};

export type PairKind = 'add' | 'mul' | 'sub' | 'div';
/**
 * The numbers of `combineRows` for the functions, and the same functions for shapes that `combineRows` does not handle.
 */
const pairs: Record<PairKind, { readonly kind: number; of(x: number, y: number): number }> = {
  add: { kind: 0, of: (x, y) => x + y },
  mul: { kind: 1, of: (x, y) => x * y },
  sub: { kind: 2, of: (x, y) => x - y },
  div: { kind: 3, of: (x, y) => x / y },
};

/** Vectors of 4 values a tile, and about as many values of rows: 64 kB of inputs and outputs. */
const vectorsAtOnce = 4096;
export const rowsAtOnce = (width: number) => Math.max(1, Math.floor((4 * vectorsAtOnce) / width));
export const widthOf = ({ shape }: Value) => shape[shape.length - 1];

/** Functions of one value and of two values. */
export function createElementwise(pool: Pool, values: Values) {
  const { address } = values;
  const run = (name: 'mapVectors' | 'mapGradient', { count }: Value, args: readonly number[]) =>
    pool.run(name, args, Math.ceil(count / 4), vectorsAtOnce);

  /**
   * The layout of `b` as rows: repeated over the leading axes of `a`, or over its last axis. Undefined for every other
   * shape.
   */
  const rowsOf = (a: Value, b: Value) => {
    const [all, few] = [a.shape, b.shape];
    const lead = all.length - few.length;
    if (lead === 0 && few.every((n, i) => n === all[i])) {
      const width = widthOf(a) ?? 1;
      return { width, step: 4 * width, column: 0 };
    }
    if (b.count === 1 && lead >= 0) return { width: widthOf(a) ?? 1, step: 0, column: 1 };
    if (lead >= 0 && few.every((n, i) => n === all[lead + i])) return { width: b.count, step: 0, column: 0 };
    const column = lead === 0 && few.every((n, i) => n === (i < few.length - 1 ? all[i] : 1));
    return column ? { width: widthOf(a), step: 4, column: 1 } : undefined;
  };

  return {
    /** `low` is the factor of `scale`; `low` and `high` are the limits of `clip`. */
    map(kind: MapKind, x: Value, low = 0, high = 0): Value {
      const out = values.make(x.shape);
      run('mapVectors', x, [maps[kind], address(x), low, high, address(out)]);
      return out;
    },
    /** `dy` times the derivative of `map` at `x`. */
    mapGradient(kind: MapKind, x: Value, dy: Value, low = 0, high = 0): Value {
      const out = values.make(x.shape);
      run('mapGradient', x, [maps[kind], address(x), address(dy), low, high, address(out)]);
      return out;
    },
    /** Combines values whose shapes repeat to a common one. `into` may be `a` itself. */
    combine(name: PairKind, a: Value, b: Value, into?: Value): Value {
      const { kind, of } = pairs[name];
      const rows = rowsOf(a, b);
      if (!rows) return broadcast(values, name, of, a, b);
      const { width, step, column } = rows;
      const out = into ?? values.make(a.shape);
      const args = [address(a), address(b), step, address(out), width, kind, column];
      pool.run('combineRows', args, a.count / width, rowsAtOnce(width));
      return out;
    },
  };
}

export type Elementwise = ReturnType<typeof createElementwise>;
