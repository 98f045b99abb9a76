import {
  type FittedScales,
  NumericError,
  type QuantizedTensor,
  roundHalfEven,
  type Scheme,
  SchemeError,
  type Tensor,
  type Tiling,
  tiling,
} from '@q/core';
import { separateStorages } from './learned-step.js';
import type { QuantizedParameterization } from './parameterization.js';
import { byOffset, stepGradients } from './step-gradient.js';

/**
 * Near 1.5 * 2^52 an f64 has no fraction and its last bit is 1, so adding this rounds to the nearest integer, ties to
 * even.
 */
const wholeNumbers = 1.5 * 2 ** 52;

/**
 * SignRound's parameters (AutoRound, arXiv 2309.05516, section 3): frozen weights, a rounding offset `v` in [-0.5, 0.5]
 * for each of them, and a factor in [0, 1] for each end of each tile's range `[lo, hi]`:
 *
 *     asymmetric:  s = (hi beta - lo alpha) / (max - min)    z = round(min - lo alpha / s)
 *     symmetric:   s = 2 max(|lo| alpha, hi beta) / (max - min)
 *     q = clamp(round(w / s + v + z))
 *
 * The offset is limited to half a step, so no weight moves further than to the next level.
 *
 * @param anchor replaces the range of the values by the one that these scales and zero points span, so that training
 *   starts from their grid
 * @throws SchemeError for formats that are not integers
 */
export function signedRounding(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  anchor?: Pick<FittedScales, 'scales' | 'zeroPoints'>,
): QuantizedParameterization {
  const refusal = refuseSignedRounding(scheme);
  if (refusal) throw new SchemeError(refusal);
  const { min, max } = scheme.format;
  const symmetric = scheme.zeroPoint === 'none';
  const tiles = tiling(scheme.granularity, weight.shape);
  const { low, high } = anchor ? spannedRange(scheme, anchor) : valueRange(weight.data, tiles);
  const rounding = new Float32Array(weight.data.length);
  const lowFactor = new Float32Array(low.length).fill(1);
  const highFactor = new Float32Array(low.length).fill(1);
  const steps = max - min;
  // A full-range symmetric grid has a negative scale if the largest value is positive (docs/reference/papers.md#grids).
  const sign = anchor && symmetric ? anchor.scales.map(Math.sign) : new Float32Array(low.length).fill(1);
  const levels = Float32Array.from({ length: 2 ** scheme.format.bits }, (_, code) => scheme.format.decode(code));

  const grid = (): FittedScales => {
    const scales = new Float32Array(low.length);
    for (let t = 0; t < low.length; t++) {
      const [bottom, top] = [low[t] * lowFactor[t], high[t] * highFactor[t]];
      scales[t] = symmetric ? (sign[t] * 2 * Math.max(-bottom, top)) / steps : (top - bottom) / steps;
    }
    const storedScales = scheme.scaleStorage.store(scales);
    if (symmetric) return { scales: storedScales.effective, storedScales };
    const zeroPoints = storedScales.effective.map((s, t) => {
      const exact = min - (low[t] * lowFactor[t]) / s;
      return scheme.zeroPoint === 'float' ? exact : Math.min(max, Math.max(min, roundHalfEven(exact)));
    });
    return { scales: storedScales.effective, zeroPoints, storedScales };
  };
  let current: QuantizedTensor | undefined;
  /** The dequantized values. */
  const values = new Float32Array(rounding.length);
  const requantize = (): QuantizedTensor => {
    for (const factors of [lowFactor, highFactor])
      for (let t = 0; t < factors.length; t++) factors[t] = Math.min(1, Math.max(0, factors[t]));
    const fitted = grid();
    const codes = new Uint8Array(rounding.length);
    const { data } = weight;
    const { rows, columns, tileRows, tileColumns, scaleColumns } = tiles;
    for (let row = 0; row < rows; row++) {
      for (let tile = 0; tile < scaleColumns; tile++) {
        const index = Math.floor(row / tileRows) * scaleColumns + tile;
        const s = fitted.scales[index];
        const z = fitted.zeroPoints?.[index] ?? 0;
        const start = row * columns + tile * tileColumns;
        const end = Math.min(start + tileColumns, (row + 1) * columns);
        for (let i = start; i < end; i++) {
          const limited = Math.min(0.5, Math.max(-0.5, rounding[i]));
          rounding[i] = limited;
          // Rounds half to even, as `roundHalfEven`: numbers of this size have no fraction.
          const q = data[i] / s + limited + z + wholeNumbers - wholeNumbers;
          codes[i] = Math.min(max, Math.max(min, q)) - min;
          values[i] = (levels[codes[i]] - z) * s;
        }
      }
    }
    current = { scheme, shape: weight.shape, codes, ...fitted };
    return current;
  };
  return {
    shape: weight.shape,
    parameters: { rounding, lowFactor, highFactor },
    value() {
      requantize();
      return values;
    },
    backward(derivative) {
      if (!current) throw new NumericError('backward() before value(): nothing has been computed yet');
      const { scales, zeroPoints, codes } = current;
      const point = {
        weight: weight.data,
        offset: rounding,
        codes,
        levels,
        scales,
        zeros: zeroPoints,
        tiles,
        min,
        max,
      };
      const gradients = stepGradients({ ...point, reach: 0.5 }, derivative);
      const byLow = new Float32Array(low.length);
      const byHigh = new Float32Array(low.length);
      for (let t = 0; t < low.length; t++) {
        const [l, h] = [low[t], high[t]];
        if (symmetric) {
          const lowRules = -l * lowFactor[t] > h * highFactor[t];
          byLow[t] = lowRules ? (sign[t] * gradients.scale[t] * 2 * -l) / steps : 0;
          byHigh[t] = lowRules ? 0 : (sign[t] * gradients.scale[t] * 2 * h) / steps;
          continue;
        }
        // z = min - lo alpha / s depends on s too.
        const s = scales[t];
        const byScale = gradients.scale[t] + (gradients.zero[t] * l * lowFactor[t]) / (s * s);
        byLow[t] = (byScale * -l) / steps - (gradients.zero[t] * l) / s;
        byHigh[t] = (byScale * h) / steps;
      }
      return { rounding: byOffset(gradients.weight, scales, tiles), lowFactor: byLow, highFactor: byHigh };
    },
    quantized: () => requantize(),
  };
}

/** The reason why a scheme cannot be trained by rounding offsets; undefined if it can. */
export function refuseSignedRounding({ format, zeroPoint, scaleStorage }: Scheme): string | undefined {
  if (format.family !== 'linear') return `rounding offsets are for integers; ${format.name} has other levels`;
  if (format.bits > 8) return `${format.name} has more than 8 bits: there is nothing to train`;
  if (zeroPoint === 'none' && format.min >= 0) return `a symmetric scheme needs a signed format, not ${format.name}`;
  if (!separateStorages.has(scaleStorage.name))
    return `scales stored as ${scaleStorage.name} depend on each other and have no gradient: use f32, f16 or bf16 scales`;
  return undefined;
}

interface Range {
  readonly low: Float32Array;
  readonly high: Float32Array;
}

/** Smallest and largest value of each tile, zero included. */
function valueRange(
  data: Float32Array,
  { rows, columns, tileRows, tileColumns, scaleRows, scaleColumns }: Tiling,
): Range {
  const low = new Float32Array(scaleRows * scaleColumns);
  const high = new Float32Array(low.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const t = Math.floor(row / tileRows) * scaleColumns + Math.floor(column / tileColumns);
      const x = data[row * columns + column];
      if (x < low[t]) low[t] = x;
      else if (x > high[t]) high[t] = x;
    }
  }
  return { low, high };
}

/** The range of a grid: `(min - z) s` to `(max - z) s`. If the grid is symmetric, half of all steps to each side. */
function spannedRange(scheme: Scheme, { scales, zeroPoints }: Pick<FittedScales, 'scales' | 'zeroPoints'>): Range {
  const { min, max } = scheme.format;
  const half = (max - min) / 2;
  const edge = (value: number, side: number) =>
    scales.map((s, t) => (zeroPoints ? s * (value - zeroPoints[t]) : side * half * Math.abs(s)));
  return { low: edge(min, -1), high: edge(max, 1) };
}
