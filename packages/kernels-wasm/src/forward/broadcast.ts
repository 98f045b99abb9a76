import { ShapeError } from '@q/core';
import type { Value, Values } from './values.js';

/**
 * An elementwise function of two values whose axes of length 1 are repeated. Such calls are rare and small, so one
 * thread computes them.
 */
export function broadcast(
  values: Values,
  name: string,
  f: (x: number, y: number) => number,
  a: Value,
  b: Value,
): Value {
  const rank = Math.max(a.shape.length, b.shape.length);
  const [left, right] = [padded(a.shape, rank), padded(b.shape, rank)];
  const shape = left.map((n, axis) => {
    if (n !== right[axis] && n !== 1 && right[axis] !== 1)
      throw new ShapeError(`${name} of [${a.shape}] and [${b.shape}]: axis ${axis} has ${n} and ${right[axis]}`);
    return Math.max(n, right[axis]);
  });
  const out = values.make(shape);
  const [x, y, to] = [values.read(a), values.read(b), values.read(out)];
  walk(shape, left, right, (at, p, q) => {
    to[at] = f(x[p], y[q]);
  });
  return out;
}

/** Reverses a repetition: sums in f64 over the axes along which `shape` was repeated to the shape of `x`. */
export function reduceTo(values: Values, x: Value, shape: readonly number[]): Value {
  const out = values.make(shape);
  const sums = new Float64Array(out.count);
  const from = values.read(x);
  const small = padded(shape, x.shape.length);
  walk(x.shape, x.shape, small, (_at, p, q) => {
    sums[q] += from[p];
  });
  values.read(out).set(sums);
  return out;
}

const padded = (shape: readonly number[], rank: number) => [
  ...new Array<number>(rank - shape.length).fill(1),
  ...shape,
];

/** Visits every index of `shape` in order, with its offset in two shapes that are repeated to `shape`. */
function walk(
  shape: readonly number[],
  left: readonly number[],
  right: readonly number[],
  visit: (at: number, p: number, q: number) => void,
): void {
  const step = (axis: number, at: number, p: number, q: number): number => {
    if (axis === shape.length) {
      visit(at, p, q);
      return at + 1;
    }
    for (let i = 0, next = at; ; ) {
      next = step(
        axis + 1,
        next,
        p * left[axis] + (left[axis] === 1 ? 0 : i),
        q * right[axis] + (right[axis] === 1 ? 0 : i),
      );
      if (++i === shape[axis]) return next;
    }
  };
  if (!shape.includes(0)) step(0, 0, 0, 0);
}
