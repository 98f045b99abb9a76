import { ShapeError, type SummedPackedWeight } from '@q/core';
import { loadPackedLinear } from '../packed/packed-linear.js';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';

/** A weight of a forward pass whose codes stay packed in the pool's memory. */
export interface PackedMatrix {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** `x` `[tokens, in]` -> `[tokens, out]`. */
  product(x: Float32Array, tokens: number): Float32Array;
  /** Output `index` of the dequantized weight, `[in]`. */
  row(index: number, into: Float32Array): void;
  dispose(): void;
}

/**
 * Products of the parts, summed in their order.
 * @throws ShapeError when there is no part, parts have different shapes, or `order` does not name every input once
 */
export function loadPackedMatrix(pool: Pool, heap: Heap, { parts, order }: SummedPackedWeight): PackedMatrix {
  const [first] = parts;
  if (!first) throw new ShapeError('a packed weight has no part: at least one was expected');
  const { outFeatures, inFeatures } = first;
  for (const part of parts)
    if (part.outFeatures !== outFeatures || part.inFeatures !== inFeatures)
      throw new ShapeError(
        `parts [${outFeatures}, ${inFeatures}] and [${part.outFeatures}, ${part.inFeatures}] of a packed weight differ`,
      );
  if (order && !isPermutation(order, inFeatures))
    throw new ShapeError(`the order of a packed weight must name each of its ${inFeatures} inputs once`);
  const linears = parts.map((part) => loadPackedLinear(pool, heap, part));
  const summed = new Float32Array(inFeatures);
  return {
    outFeatures,
    inFeatures,
    product(x, tokens) {
      const input = order ? reordered(x, order) : x;
      const [sum, ...others] = linears.map((linear) => linear.product(input, tokens));
      for (const other of others) for (let i = 0; i < sum.length; i++) sum[i] += other[i];
      return sum;
    },
    row(index, into) {
      summed.fill(0);
      for (const linear of linears) linear.addRow(index, summed);
      if (order) for (let i = 0; i < inFeatures; i++) into[order[i]] = summed[i];
      else into.set(summed);
    },
    dispose() {
      for (const linear of linears) linear.dispose();
    },
  };
}

function reordered(x: Float32Array, order: Int32Array): Float32Array {
  const width = order.length;
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width)
    for (let i = 0; i < width; i++) out[start + i] = x[start + order[i]];
  return out;
}

function isPermutation(order: Int32Array, size: number): boolean {
  const named = new Uint8Array(size);
  for (const index of order) if (index >= 0 && index < size) named[index] = 1;
  return order.length === size && named.every((one) => one === 1);
}
