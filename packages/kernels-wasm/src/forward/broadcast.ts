import { ShapeError } from '@q/core';
import type { Value, Values } from './values.js';

/** Elementwise product where axes of length 1 are repeated: rare and small, so one thread walks the indices. */
export function broadcastProduct(values: Values, a: Value, b: Value): Value {
  const rank = Math.max(a.shape.length, b.shape.length);
  const padded = ({ shape }: Value) => [...new Array<number>(rank - shape.length).fill(1), ...shape];
  const [left, right] = [padded(a), padded(b)];
  const shape = left.map((n, axis) => {
    if (n !== right[axis] && n !== 1 && right[axis] !== 1)
      throw new ShapeError(`mul of [${a.shape}] and [${b.shape}]: axis ${axis} has ${n} and ${right[axis]}`);
    return Math.max(n, right[axis]);
  });
  const out = values.make(shape);
  const [x, y, to] = [values.read(a), values.read(b), values.read(out)];
  const walk = (axis: number, at: number, p: number, q: number): number => {
    if (axis === rank) {
      to[at] = x[p] * y[q];
      return at + 1;
    }
    for (let i = 0, next = at; ; ) {
      next = walk(
        axis + 1,
        next,
        p * left[axis] + (left[axis] === 1 ? 0 : i),
        q * right[axis] + (right[axis] === 1 ? 0 : i),
      );
      if (++i === shape[axis]) return next;
    }
  };
  if (out.count > 0) walk(0, 0, 0, 0);
  return out;
}
