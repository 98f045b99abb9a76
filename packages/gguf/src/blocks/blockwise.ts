import { allFinite, type BlockFormat, type BlockGrid } from '@q/core';
import { blockOf } from './block-bytes.js';

/** The importance of one block's values, and the row's mean square that the reference combines with it. */
interface BlockWeights {
  /** Of the block's columns. */
  readonly columns: Float32Array;
  /** Mean square of the whole row. */
  readonly rowSquare: number;
}

/** A format, defined by the encoding of one block. */
interface OneBlock extends Pick<BlockFormat, 'name' | 'values' | 'bytes' | 'kernel'> {
  readonly grid: BlockGrid;
  /** Encodes finite values. Returns whether the stored values are finite. */
  encode(x: Float32Array, to: Uint8Array, weights: BlockWeights | undefined): boolean;
}

const f = Math.fround;

/** Mean square, summed in f32 in the order of the values. */
export function meanSquare(x: Float32Array): number {
  let sum = 0;
  for (const value of x) sum = f(sum + f(value * value));
  return f(sum / x.length);
}

/** Encodes whole blocks, one after the other, up to the first that cannot be stored. */
export function blockwise({ encode, ...sizes }: OneBlock): BlockFormat {
  const { values, bytes, grid } = sizes;
  const groups = values / grid.group;
  const [scales, minima] = [new Float32Array(groups), new Float32Array(groups)];
  const codes = new Uint8Array(values);
  return {
    ...sizes,
    encode(all, out, importance) {
      const columns = importance?.length ?? all.length;
      for (let row = 0; row * columns < all.length; row++) {
        const own = all.subarray(row * columns, (row + 1) * columns);
        if (!allFinite(own)) return false;
        const rowSquare = importance ? meanSquare(own) : 0;
        for (let block = 0; block < columns / values; block++) {
          const weights = importance && { columns: blockOf(importance, block, values), rowSquare };
          const at = (row * columns) / values + block;
          if (!encode(blockOf(own, block, values), blockOf(out, at, bytes), weights)) return false;
        }
      }
      return true;
    },
    decode(all, out) {
      const { levels, group } = grid;
      for (let block = 0; block < out.length / values; block++) {
        const from = blockOf(all, block, bytes);
        const to = blockOf(out, block, values);
        grid.getScales(from, scales, minima);
        grid.getCodes(from, codes);
        for (let j = 0; j < groups; j++) {
          const [scale, minimum] = [scales[j], minima[j]];
          for (let i = j * group; i < (j + 1) * group; i++) to[i] = f(scale * levels[codes[i]]) - minimum;
        }
      }
    },
  };
}

/** Weights of a group's values: its columns' importance times `sqrt(square + x^2)`. */
export function weigh(x: Float32Array, columns: Float32Array, square: number, out: Float32Array): void {
  for (let i = 0; i < x.length; i++) out[i] = f(columns[i] * f(Math.sqrt(f(square + f(x[i] * x[i])))));
}

/** Integers from `first` on. */
export const integers = (first: number, count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => first + i);
