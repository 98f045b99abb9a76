import type { Kernels } from './contracts/kernels.js';
import type { QuantizedTensor } from './contracts/quantized-tensor.js';
import type { ScaleFit } from './contracts/scale-fit.js';
import type { Scheme } from './contracts/scheme.js';
import type { Tensor } from './contracts/tensor.js';
import { encodeLevels, encodeLinear } from './encode.js';
import { minMax } from './fit/min-max.js';
import { type FittedScales, fitScales, notFinite } from './fit-scales.js';
import { levelEncoder } from './formats/level-encoder.js';
import { levelTable } from './formats/level-table.js';
import { type Tiling, tiling } from './schemes/granularity.js';

export interface QuantizeOptions {
  /**
   * The fit that finds scales. When absent: the fit of the scheme's storage or format, else the range of the values.
   */
  readonly fit?: ScaleFit;
  /** Weight of each column `[columns]`, or of each element if a scale serves several rows, for fits that use it. */
  readonly importance?: Float32Array;
  /** Scales that are known already (rounded to storage): nothing is fitted. */
  readonly fitted?: FittedScales;
  /** The kernels of the context, which fit and round on all their threads. They do not change the result. */
  readonly kernels?: Pick<Kernels, 'grids'>;
  /** Receives codes of up to 8 bits if it is long enough. */
  readonly into?: Uint8Array;
}

/**
 * Rounds every element to its tile's grid. Codes are computed with the stored scale, not with the fitted one.
 * @throws NumericError when an element is NaN or infinite
 */
export function quantize(weight: Tensor<'f32'>, scheme: Scheme, options: QuantizeOptions = {}): QuantizedTensor {
  const { fit = defaultFit(scheme), importance, kernels } = options;
  const fitted = options.fitted ?? fitScales(weight, scheme, fit, importance, kernels);
  const tiles = tiling(scheme.granularity, weight.shape);
  const codes = codesOf(scheme, weight.data.length, options.into);
  if (!encode({ data: weight.data, codes, tiles, fitted, scheme }, kernels)) throw notFinite(weight.data);
  return { scheme, shape: weight.shape, codes, ...fitted };
}

/** The fit that a scheme needs. */
function defaultFit(scheme: Scheme): ScaleFit {
  return scheme.scaleStorage.fit ?? scheme.format.fit ?? minMax();
}

type Codes = Uint8Array | Uint16Array;

function codesOf({ format }: Scheme, count: number, into: Uint8Array | undefined): Codes {
  if (format.bits > 8) return new Uint16Array(count);
  return into && into.length >= count ? into.subarray(0, count) : new Uint8Array(count);
}

interface Rounding {
  readonly data: Float32Array;
  readonly codes: Codes;
  readonly tiles: Tiling;
  readonly fitted: FittedScales;
  readonly scheme: Scheme;
}

/** False when a value is NaN or infinite. Kernels encode tiles of one row with codes of up to 8 bits. */
function encode({ data, codes, tiles, fitted, scheme }: Rounding, kernels: QuantizeOptions['kernels']): boolean {
  const { format } = scheme;
  const { scales, zeroPoints: zeros } = fitted;
  const { rows, columns, tileColumns: groupSize } = tiles;
  const linear = format.family === 'linear';
  const { min, max } = format;
  if (kernels && tiles.tileRows === 1 && codes instanceof Uint8Array && data.length > 0) {
    const groups = { values: data, rows, columns, groupSize, scales, codes };
    if (linear) return kernels.grids.round({ ...groups, zeros, min, max });
    const { thresholds, codes: levelCodes, zeroIndex, negativeZero } = levelTable(format);
    return kernels.grids.levels({ ...groups, thresholds, levelCodes, zeroIndex, negativeZero });
  }
  return linear
    ? encodeLinear({ data, codes, tiles, scales, zeros, min, max })
    : encodeLevels({ data, codes, tiles, scales }, levelEncoder(format));
}
