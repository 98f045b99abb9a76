import { allFinite } from './all-finite.js';
import type { LevelEncoder } from './formats/level-encoder.js';
import type { Tiling } from './schemes/granularity.js';

/** Values to encode, and the grids of their tiles. */
interface Encoding {
  readonly data: Float32Array;
  /** Out, as long as `data`. */
  readonly codes: Uint8Array | Uint16Array;
  readonly tiles: Tiling;
  /** One for each tile. */
  readonly scales: Float32Array;
}

interface LinearEncoding extends Encoding {
  /** One for each tile; 0 when absent. */
  readonly zeros?: Float32Array;
  readonly min: number;
  readonly max: number;
}

/** Adding and subtracting 1.5 * 2^52 rounds an f64 of magnitude below 2^51 half to even, without a branch. */
const roundingMagic = 6755399441055744;

/**
 * `code = clamp(roundHalfEven(x / scale + zero), min, max) - min`, in f64.
 * @returns false when a value is NaN or infinite; codes are then undefined
 */
export function encodeLinear({ data, codes, tiles, scales, zeros, min, max }: LinearEncoding): boolean {
  let finite = 0;
  forEachRun(tiles, (start, end, index) => {
    const scale = scales[index];
    const zero = zeros?.[index] ?? 0;
    for (let i = start; i < end; i++) {
      const x = data[i] / scale + zero;
      finite += x - x; // becomes NaN, and stays NaN, after a NaN or an infinity
      codes[i] = (x < min ? min : x > max ? max : x + roundingMagic - roundingMagic) - min;
    }
  });
  return finite === 0;
}

/**
 * The code of the level nearest to `x / scale`.
 * @returns false when a value is NaN or infinite; codes are then undefined
 */
export function encodeLevels({ data, codes, tiles, scales }: Encoding, encode: LevelEncoder): boolean {
  if (!allFinite(data)) return false;
  forEachRun(tiles, (start, end, index) => encode(data, codes, start, end, scales[index]));
  return true;
}

/** Calls `run(start, end, scaleIndex)` for each run of consecutive elements that share a scale. */
export function forEachRun(tiles: Tiling, run: (start: number, end: number, scaleIndex: number) => void): void {
  const { rows, columns, tileRows, tileColumns, scaleColumns } = tiles;
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / tileRows) * scaleColumns;
    for (let group = 0; group < scaleColumns; group++) {
      const start = row * columns + group * tileColumns;
      run(start, Math.min(start + tileColumns, (row + 1) * columns), first + group);
    }
  }
}
