import { allFinite } from './all-finite.js';
import type { GridKernels } from './contracts/grid-kernels.js';
import type { QuantizedTensor } from './contracts/quantized-tensor.js';
import type { Scheme } from './contracts/scheme.js';
import { minMax } from './fit/min-max.js';
import type { ScaleFit } from './fit/scale-fit.js';
import { type FittedScales, fitScales, notFinite } from './fit-scales.js';
import { levelEncoder } from './formats/level-encoder.js';
import { levelTable } from './formats/level-table.js';
import { type Tiling, tiling } from './schemes/granularity.js';
import type { Tensor } from './tensor.js';

export interface QuantizeOptions {
  /** How scales are found. When absent: the rule of the scheme's storage or format, else the range of the values. */
  readonly fit?: ScaleFit;
  /** Weight of each column `[columns]` for fits that use it. */
  readonly importance?: Float32Array;
  /** Scales that are already known (rounded to storage): nothing is fitted. */
  readonly fitted?: FittedScales;
  /** `kernels.grids` of the context: scales and codes are the same with and without. */
  readonly grids?: GridKernels;
  /** Where codes of up to 8 bits go when it has room for them. */
  readonly into?: Uint8Array;
}

/** Adding and subtracting 1.5 * 2^52 rounds an f64 of magnitude below 2^51 half to even, without a branch. */
const roundingMagic = 6755399441055744;

/**
 * Rounds every element to its tile's grid. Codes are computed with the stored scale, not the fitted one.
 * @throws NumericError when an element is NaN or infinite
 */
export function quantize(weight: Tensor<'f32'>, scheme: Scheme, options: QuantizeOptions = {}): QuantizedTensor {
  const { fit = defaultFit(scheme), importance, grids } = options;
  const fitted = options.fitted ?? fitScales(weight, scheme, fit, importance, grids);
  const tiles = tiling(scheme.granularity, weight.shape);
  const codes = codesOf(scheme, weight.data.length, options.into);
  const bad =
    scheme.format.family === 'linear'
      ? encodeLinear(weight.data, codes, scheme, fitted, tiles, grids)
      : encodeAny(weight.data, codes, scheme, fitted, tiles, grids);
  if (bad) throw notFinite(weight.data);
  return { scheme, shape: weight.shape, codes, ...fitted };
}

/** The rule that a scheme asks for by itself. */
function defaultFit(scheme: Scheme): ScaleFit {
  return scheme.scaleStorage.fit ?? scheme.format.fit ?? minMax();
}

type Codes = Uint8Array | Uint16Array;

function codesOf({ format }: Scheme, count: number, into: Uint8Array | undefined): Codes {
  if (format.bits > 8) return new Uint16Array(count);
  return into && into.length >= count ? into.subarray(0, count) : new Uint8Array(count);
}

function encodeLinear(
  data: Float32Array,
  codes: Codes,
  scheme: Scheme,
  fitted: FittedScales,
  tiles: Tiling,
  grids: GridKernels | undefined,
): boolean {
  const { min, max } = scheme.format;
  if (grids && tiles.tileRows === 1 && codes instanceof Uint8Array && data.length > 0) {
    const { rows, columns, tileColumns: groupSize } = tiles;
    const { scales, zeroPoints: zeros } = fitted;
    return !grids.round({ values: data, rows, columns, groupSize, scales, zeros, min, max, codes });
  }
  let finite = 0;
  forEachRun(tiles, (start, end, index) => {
    const scale = fitted.scales[index];
    const zero = fitted.zeroPoints?.[index] ?? 0;
    for (let i = start; i < end; i++) {
      const x = data[i] / scale + zero;
      finite += x - x; // stays 0 until a NaN or an infinity comes by
      codes[i] = (x < min ? min : x > max ? max : x + roundingMagic - roundingMagic) - min;
    }
  });
  return finite !== 0;
}

function encodeAny(
  data: Float32Array,
  codes: Codes,
  scheme: Scheme,
  { scales }: FittedScales,
  tiles: Tiling,
  grids: GridKernels | undefined,
): boolean {
  if (grids && tiles.tileRows === 1 && codes instanceof Uint8Array && data.length > 0) {
    const { rows, columns, tileColumns: groupSize } = tiles;
    const { thresholds, codes: levelCodes, zeroIndex, negativeZero } = levelTable(scheme.format);
    const levels = { thresholds, levelCodes, zeroIndex, negativeZero };
    return !grids.levels({ values: data, rows, columns, groupSize, scales, ...levels, codes });
  }
  if (!allFinite(data)) return true;
  const encoder = levelEncoder(scheme.format);
  forEachRun(tiles, (start, end, index) => encoder(data, codes, start, end, scales[index]));
  return false;
}

/** Calls `run(start, end, scaleIndex)` for each stretch of consecutive elements that share a scale. */
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
