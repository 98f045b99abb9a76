import {
  dequantize,
  type FittedScales,
  type Kernels,
  NumericError,
  type QuantizedTensor,
  quantize,
  roundHalfEven,
  type Scheme,
  SchemeError,
  type Tensor,
  tensor,
  tiling,
} from '@q/core';
import type { QuantizedParameterization } from './parameterization.js';
import { stepGradients } from './step-gradient.js';

/** Options of {@link learnedStep}. */
export interface LearnedStepOptions {
  /** Train scales. Default true. */
  readonly scales?: boolean;
  /** Train zero points, if the scheme has them. Default true. */
  readonly zeros?: boolean;
  /**
   * Weights beyond the last level: with `clipped` (default) they get no gradient (LSQ), with `plain` they do. With
   * `stretched` they do up to almost half a step beyond it (SEQ of ParetoQ).
   */
  readonly estimator?: 'clipped' | 'plain' | 'stretched';
  /**
   * Multiplies the derivatives of scales and zero points by `1 / sqrt(elements of a tile * largest code)`, as LSQ does
   * to balance them with the weights' under SGD. Adam does not need it. Default false.
   */
  readonly scaleGradient?: boolean;
  /** The kernels of the context, for the codes of each step. The result is the same without them. */
  readonly kernels?: Pick<Kernels, 'grids'>;
}

/**
 * SEQ clips `w / a` at 0.99, where 1 is half a step beyond the last level (docs/reference/papers.md#learned-steps):
 * 0.99 * k/2 - (k-1)/2.
 */
const stretchedReach = (levels: number) => (0.99 * levels) / 2 - (levels - 1) / 2;

/** The smallest scale that training may reach. A scale that changes its sign would reverse the grid. */
const smallestScale = 2 ** -20;

/**
 * Trained weights, scales and zero points (LSQ and related methods) for every scheme whose scales are stored one by
 * one.
 *
 * The forward pass uses the values of a file: the scale rounded to its storage, the zero point rounded to an integer
 * and limited to the format's range. Gradients pass through both roundings.
 * @param weight `[out, in]`, the initial weights; copied
 * @param start initial scales and zero points, one for each of the scheme's tiles
 * @throws SchemeError for storages whose scales depend on each other: they have no gradient
 */
export function learnedStep(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  start: Pick<FittedScales, 'scales' | 'zeroPoints'>,
  options: LearnedStepOptions = {},
): QuantizedParameterization {
  const refusal = refuseLearnedStep(scheme);
  if (refusal) throw new SchemeError(refusal);
  const { format, zeroPoint } = scheme;
  const { estimator = 'clipped' } = options;
  const hasZeros = zeroPoint !== 'none';
  const tiles = tiling(scheme.granularity, weight.shape);
  const reach =
    estimator === 'clipped' ? 0 : estimator === 'plain' ? Number.POSITIVE_INFINITY : stretchedReach(levelCount(scheme));
  const parameters = {
    weight: weight.data.slice(),
    scale: start.scales.slice(),
    zero: hasZeros ? (start.zeroPoints ?? new Float32Array(start.scales.length)).slice() : new Float32Array(0),
  };
  const trained: Record<string, Float32Array> = { weight: parameters.weight };
  if (options.scales ?? true) trained.scale = parameters.scale;
  if (hasZeros && (options.zeros ?? true)) trained.zero = parameters.zero;
  const factor = options.scaleGradient
    ? 1 / Math.sqrt(tiles.tileRows * tiles.tileColumns * Math.max(Math.abs(format.min), format.max))
    : 1;

  /** Scales and zero points with the values that a reader of the file gets. */
  const effective = (): FittedScales => {
    const { scale, zero } = parameters;
    for (let i = 0; i < scale.length; i++) {
      // Scales keep the sign of the start (full-range symmetric grids have negative ones).
      if (Math.abs(scale[i]) < smallestScale || scale[i] * start.scales[i] < 0)
        scale[i] = Math.sign(start.scales[i]) * smallestScale;
    }
    const storedScales = scheme.scaleStorage.store(scale);
    if (!hasZeros) return { scales: storedScales.effective, storedScales };
    const zeroPoints =
      zeroPoint === 'float'
        ? zero.slice()
        : zero.map((z) => Math.min(format.max, Math.max(format.min, roundHalfEven(z))));
    return { scales: storedScales.effective, zeroPoints, storedScales };
  };
  const levels = decodeTable(scheme);
  let current: QuantizedTensor | undefined;
  const requantize = (): QuantizedTensor => {
    current = quantize(tensor('f32', weight.shape, parameters.weight), scheme, {
      fitted: effective(),
      kernels: options.kernels,
    });
    return current;
  };
  return {
    shape: weight.shape,
    parameters: trained,
    value: () => dequantize(requantize()).data,
    backward(derivative) {
      if (!current) throw new NumericError('backward() before value(): nothing has been computed yet');
      const gradients = stepGradients(
        {
          weight: parameters.weight,
          codes: current.codes,
          levels,
          scales: current.scales,
          zeros: current.zeroPoints,
          tiles,
          min: format.min,
          max: format.max,
          reach,
        },
        derivative,
      );
      const out: Record<string, Float32Array> = { weight: gradients.weight };
      if (trained.scale) out.scale = scaled(gradients.scale, factor);
      if (trained.zero) out.zero = scaled(gradients.zero, factor);
      return out;
    },
    quantized: () => requantize(),
  };
}

/** The reason why a scheme cannot be trained by its steps; undefined if it can. */
export function refuseLearnedStep({ scaleStorage, format, zeroPoint }: Scheme): string | undefined {
  if (!separateStorages.has(scaleStorage.name))
    return `scales stored as ${scaleStorage.name} depend on each other and have no gradient: use f32, f16 or bf16 scales`;
  if (format.bits > 8) return `${format.name} has more than 8 bits: there is nothing to train`;
  if (format.family === 'linear' && zeroPoint === 'none' && format.min >= 0)
    return `a symmetric scheme needs a signed format, not ${format.name}`;
  return undefined;
}

/** Storages that round scales one by one, so each scale has its own gradient. */
export const separateStorages = new Set(['f32', 'f16', 'bf16']);

/** The number of values of a format's codes. */
export function levelCount({ format }: Pick<Scheme, 'format'>): number {
  if (format.family === 'linear') return format.max - format.min + 1;
  const levels = new Set(Array.from(decodeTable({ format })).filter(Number.isFinite));
  return levels.size;
}

/** Value of each code of a format. */
export function decodeTable({ format }: Pick<Scheme, 'format'>): Float32Array {
  return Float32Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code));
}

function scaled(values: Float32Array, factor: number): Float32Array {
  return factor === 1 ? values : values.map((x) => x * factor);
}
