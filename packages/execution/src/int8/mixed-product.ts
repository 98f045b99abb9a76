import {
  type ActivationScheme,
  f32Scale,
  type Int8Weight,
  int8,
  perToken,
  quantizeInt8Input,
  type SyncKernels,
  scheme,
} from '@q/core';
import { int8Linear } from './int8-linear.js';
import { outlierColumns } from './outlier-columns.js';

export interface MixedProduct {
  /** `[tokens, out]` */
  readonly y: Float32Array;
  /** Columns that were multiplied in floating point. */
  readonly outliers: Int32Array;
}

const vectorWise: ActivationScheme = {
  scheme: scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
};

/**
 * The mixed-precision decomposition of LLM.int8() (eq. 8):
 * `y = X_O W_O^T + (c_x c_w / 127^2) * int8(X_rest) int8(W)^T`.
 *
 * Columns with an outlier in any row are removed from the integer operand, and row maxima are those of the rest
 * (bitsandbytes keeps the small values of an outlier column in them, which never gives a finer grid). As in
 * bitsandbytes, the weight was rounded once over all its columns, and its outlier columns are decoded from those codes.
 * A threshold of 0 is the plain vector-wise product.
 * @param x `[tokens, in]`
 * @throws NumericError when x has NaN or infinity
 */
export function mixedProduct(
  x: Float32Array,
  weight: Int8Weight,
  bias: Float32Array | undefined,
  threshold: number,
  kernels: SyncKernels,
): MixedProduct {
  const { inFeatures, outFeatures } = weight;
  const outliers = outlierColumns(x, inFeatures, threshold);
  if (outliers.length === 0)
    return { y: int8Linear(quantizeInt8Input(x, inFeatures, vectorWise), weight, bias, kernels), outliers };
  const tokens = x.length / inFeatures;
  const rest = x.slice();
  const wide = new Float32Array(tokens * outliers.length);
  for (let token = 0, at = 0; token < tokens; token++) {
    for (const column of outliers) {
      wide[at++] = x[token * inFeatures + column];
      rest[token * inFeatures + column] = 0;
    }
  }
  const y = int8Linear(quantizeInt8Input(rest, inFeatures, vectorWise), weight, bias, kernels);
  kernels.matmul({
    a: wide,
    b: columnsOf(weight, outliers),
    m: tokens,
    n: outFeatures,
    k: outliers.length,
    transposeB: true,
    out: y,
    accumulate: true,
  });
  return { y, outliers };
}

/** Columns of a weight in floating point, `[out, columns]`. */
function columnsOf({ codes, scales, inFeatures, outFeatures }: Int8Weight, columns: Int32Array): Float32Array {
  const out = new Float32Array(outFeatures * columns.length);
  for (let row = 0, at = 0; row < outFeatures; row++) {
    const scale = scales.length === 1 ? scales[0] : scales[row];
    for (const column of columns) out[at++] = codes[row * inFeatures + column] * scale;
  }
  return out;
}
