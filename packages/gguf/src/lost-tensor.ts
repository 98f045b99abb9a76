import { type BlockSource, bf16ToF32, f16ToF32, NumericError } from '@q/core';
import type { RequantizedTensor } from './requantize-plan.js';
import type { GgufTensorType } from './tensor-type.js';

/** A tensor whose values are too small for the type that was chosen, or for its scales. */
export class LostTensorError extends NumericError {
  override name = 'LostTensorError';

  constructor(
    message: string,
    readonly tensor: string,
  ) {
    super(message);
  }
}

/** The block that holds the value of the largest magnitude so far, and what became of that value. */
export interface LargestBlock {
  readonly magnitude: number;
  readonly decoded: number;
}

/**
 * The largest value of a chunk of whole blocks, where it is larger than that of the chunks before.
 * @param output the blocks that the values have become
 */
export function largestBlock(
  { values, bytes, format }: GgufTensorType,
  source: BlockSource,
  output: Uint8Array,
  before: LargestBlock | undefined,
): LargestBlock {
  const index = largestIndex(source);
  const value = index < 0 ? 0 : valueAt(source, index);
  const magnitude = Math.abs(value);
  if (before && magnitude <= before.magnitude) return before;
  if (index < 0) return { magnitude, decoded: 0 };
  const block = Math.floor(index / values);
  const decoded = new Float32Array(values);
  format?.decode(output.subarray(block * bytes, (block + 1) * bytes), decoded);
  return { magnitude, decoded: Math.sign(value) * decoded[index % values] };
}

/** Magnitudes of all float dtypes are ordered as their bits are. */
function largestIndex({ dtype, data }: BlockSource): number {
  const bits = dtype === 'f32' ? new Uint32Array(data.buffer, data.byteOffset, data.length) : (data as Uint16Array);
  const mask = dtype === 'f32' ? 0x7fffffff : 0x7fff;
  let [most, index] = [0, -1];
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i] & mask;
    if (magnitude > most) [most, index] = [magnitude, i];
  }
  return index;
}

function valueAt({ dtype, data }: BlockSource, index: number): number {
  if (dtype === 'f32') return data[index];
  return dtype === 'f16' ? f16ToF32(data[index]) : bf16ToF32(data[index]);
}

/** Below, f16 has fewer than 32 steps: where the largest value of a tensor is there, the others are lost. */
const smallestF16 = 2 ** -19;

/**
 * Blocks keep their scales in f16, which has nothing below 2^-24. The largest value of a tensor is a grid point of its block, or near
 * one: where even it is not kept to a quarter, the tensor is lost.
 * @throws LostTensorError naming the tensor
 */
export function refuseLost(
  name: string,
  { from, to }: Pick<RequantizedTensor, 'from' | 'to'>,
  { magnitude, decoded }: LargestBlock,
): void {
  const asF16 = to.name === 'F16' && magnitude > 0 && magnitude < smallestF16;
  if (!asF16 && Math.abs(decoded - magnitude) <= magnitude / 4) return;
  const what = to.values === 1 ? `${to.name} does` : `the f16 scales of ${to.name} do`;
  throw new LostTensorError(
    `${name}: tensor ${from.name} has no value above ${magnitude}, and ${what} not hold such small ones: keep it as it is`,
    from.name,
  );
}
