import { ShapeError, type SummedPackedWeight } from '@q/core';
import { loadPackedLinear } from '../packed/packed-linear.js';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';

/** A weight of a forward pass that stays as it is stored in the pool's memory: packed codes, or values of 16 bits. */
export interface PackedMatrix {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /**
   * Multiplies inputs `[tokens, in]` at address `x` of the pool's memory, and writes outputs `[tokens, out]` at `out`.
   * Adds the row at address `bias`, unless it is 0.
   */
  product(x: number, tokens: number, out: number, bias: number): void;
  /** Writes output `index` of the dequantized weight, `[in]`, to `into`. */
  row(index: number, into: Float32Array): void;
  dispose(): void;
}

/**
 * Loads a weight of several parts. Its products are those of the parts, summed in their order.
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
  const floatsAt = (at: number, count: number) => new Float32Array(pool.memory.buffer, at, count);
  return {
    outFeatures,
    inFeatures,
    product(x, tokens, out, bias) {
      const [first, ...others] = linears;
      const input = order ? heap.allocate(4 * tokens * inFeatures) : x;
      if (order) reorder(floatsAt(x, tokens * inFeatures), order, floatsAt(input, tokens * inFeatures));
      first.product(input, tokens, out);
      const other = others.length > 0 ? heap.allocate(4 * tokens * outFeatures) : 0;
      for (const linear of others) {
        linear.product(input, tokens, other);
        const [sum, more] = [out, other].map((at) => floatsAt(at, tokens * outFeatures));
        for (let i = 0; i < sum.length; i++) sum[i] += more[i];
      }
      if (order) heap.free(input);
      if (others.length > 0) heap.free(other);
      if (bias !== 0) addToRows(floatsAt(out, tokens * outFeatures), floatsAt(bias, outFeatures));
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

function addToRows(rows: Float32Array, bias: Float32Array): void {
  for (let start = 0; start < rows.length; start += bias.length)
    for (let i = 0; i < bias.length; i++) rows[start + i] += bias[i];
}

function reorder(x: Float32Array, order: Int32Array, out: Float32Array): void {
  const width = order.length;
  for (let start = 0; start < x.length; start += width)
    for (let i = 0; i < width; i++) out[start + i] = x[start + order[i]];
}

function isPermutation(order: Int32Array, size: number): boolean {
  const named = new Uint8Array(size);
  for (const index of order) if (index >= 0 && index < size) named[index] = 1;
  return order.length === size && named.every((one) => one === 1);
}
