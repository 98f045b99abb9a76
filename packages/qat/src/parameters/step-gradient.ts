import type { Tiling } from '@q/core';

/** A fake-quantized matrix at one point, with all values on which its derivatives depend. */
export interface QuantizationPoint {
  /** The trained weights `w`. */
  readonly weight: ArrayLike<number>;
  /** The number that is added to `w / s + z` before rounding, one an element (SignRound's V); absent: 0. */
  readonly offset?: ArrayLike<number>;
  /** Codes, and the value `q` of each code: `what = (q - z) s`. */
  readonly codes: ArrayLike<number>;
  readonly levels: ArrayLike<number>;
  /** Scales `s` and zero points `z` with which the codes were computed, one a tile. */
  readonly scales: ArrayLike<number>;
  readonly zeros: ArrayLike<number> | undefined;
  readonly tiles: Tiling;
  /** Smallest and largest decoded value of the format. */
  readonly min: number;
  readonly max: number;
  /**
   * The distance beyond `min` and `max`, in steps, up to which a value counts as inside. 0 is the clipped
   * straight-through estimator of LSQ, infinity is the plain one, and about half a step is SEQ's (ParetoQ, arXiv
   * 2502.02631).
   */
  readonly reach: number;
}

export interface StepGradients {
  /** Derivatives by the weights. The derivatives by the offsets are these times the scale ({@link byOffset}). */
  readonly weight: Float32Array;
  readonly scale: Float32Array;
  readonly zero: Float32Array;
}

/**
 * Derivatives of `what = (q - z) s`, `q = clamp(round(w / s + v + z))`, with rounding taken as the addition of a
 * constant:
 *
 *     inside:   dwhat/dw = 1    dwhat/dv = s    dwhat/ds = q - (w / s + z)    dwhat/dz = 0
 *     clipped:  dwhat/dw = 0    dwhat/dv = 0    dwhat/ds = q - z              dwhat/dz = -s
 *
 * which are, without the offset v, LSQ's (Esser et al., arXiv 1902.08153, equations 2 and 3) and LSQ+'s for the zero
 * point (arXiv 2004.09576). Formats that are not integers round to their levels: the same formulas hold with `q` the
 * level and no zero point. Sums over a tile run in f64.
 */
export function stepGradients(point: QuantizationPoint, derivative: ArrayLike<number>): StepGradients {
  const { weight: w, offset, codes, levels, scales, zeros, min, max, reach } = point;
  const { rows, columns, tileRows, tileColumns, scaleColumns } = point.tiles;
  const weight = new Float32Array(w.length);
  const scale = new Float64Array(scales.length);
  const zero = new Float64Array(scales.length);
  const [low, high] = [min - reach, max + reach];
  for (let row = 0; row < rows; row++) {
    for (let tile = 0; tile < scaleColumns; tile++) {
      const index = Math.floor(row / tileRows) * scaleColumns + tile;
      const s = scales[index];
      const z = zeros ? zeros[index] : 0;
      const start = row * columns + tile * tileColumns;
      const end = Math.min(start + tileColumns, (row + 1) * columns);
      let byScale = 0;
      let byZero = 0;
      for (let i = start; i < end; i++) {
        const d = derivative[i];
        const q = levels[codes[i]];
        const exact = w[i] / s + z;
        const v = offset ? exact + offset[i] : exact;
        if (v >= low && v <= high) {
          weight[i] = d;
          byScale += d * (q - exact);
        } else {
          byScale += d * (q - z);
          byZero -= d * s;
        }
      }
      scale[index] += byScale;
      zero[index] += byZero;
    }
  }
  return { weight, scale: Float32Array.from(scale), zero: Float32Array.from(zero) };
}

/** Derivatives by the offsets: those by the weights times each tile's scale. */
export function byOffset(byWeight: Float32Array, scales: ArrayLike<number>, tiles: Tiling): Float32Array {
  const out = new Float32Array(byWeight.length);
  const { rows, columns, tileRows, tileColumns, scaleColumns } = tiles;
  for (let row = 0; row < rows; row++) {
    for (let tile = 0; tile < scaleColumns; tile++) {
      const s = scales[Math.floor(row / tileRows) * scaleColumns + tile];
      const start = row * columns + tile * tileColumns;
      const end = Math.min(start + tileColumns, (row + 1) * columns);
      for (let i = start; i < end; i++) out[i] = byWeight[i] * s;
    }
  }
  return out;
}
