import type { ActivationScheme } from '../contracts/activation-scheme.js';
import { NumericError, SchemeError, ShapeError } from '../contracts/errors.js';
import type { Int8Input } from '../contracts/int8-product.js';
import { int8 } from '../formats/linear.js';
import { describeScheme } from '../schemes/scheme.js';
import { refuseInput } from './refuse-input.js';

/** The largest code: grids are symmetric, and -128 never occurs in inputs. */
export const largestInt8Code = 127;

/** Adding and subtracting 1.5 * 2^52 rounds an f64 half to even. */
const roundingMagic = 6755399441055744;

/** The reason why inputs cannot be quantized by this scheme, or undefined. */
export function refuseInt8Input(activation: ActivationScheme): string | undefined {
  const { scheme, outlierThreshold, bound } = activation;
  const refusal = refuseInput(activation, int8, 'inputs of integer products are symmetric int8');
  if (refusal) return refusal;
  if (bound !== undefined) return 'a bound on the scale is for FP8 inputs; integers have none';
  if (outlierThreshold === undefined) return undefined;
  if (!(outlierThreshold >= 0 && Number.isFinite(outlierThreshold)))
    return `an outlier threshold of ${outlierThreshold} is not 0 or a positive number; the paper's is 6`;
  if (!scheme.dynamic || scheme.granularity.kind !== 'token')
    return `${describeScheme(scheme)}: inputs with outlier columns have dynamic scales per token`;
  return undefined;
}

/**
 * Rounds inputs to int8: `code = clamp(roundHalfEven(x / scale), -127, 127)`. Dynamic scales are `max|x| / 127` of the
 * token or of all of `x` (SmoothQuant, section 2, eq. 1; LLM.int8(), section 2.1). A static scale is used as it is, and
 * larger values saturate. An input of zeros has scale 1 and codes 0.
 * @param x `[tokens, width]`
 * @throws SchemeError when the scheme is none of these, NumericError when a value is NaN or infinite
 */
export function quantizeInt8Input(x: Float32Array, width: number, activation: ActivationScheme): Int8Input {
  const refusal = refuseInt8Input(activation);
  if (refusal) throw new SchemeError(refusal);
  if (width < 1 || x.length % width !== 0)
    throw new ShapeError(`${x.length} values are not rows of ${width}: the width of the input does not fit`);
  const tokens = x.length / width;
  const codes = new Int8Array(x.length);
  if (!activation.scheme.dynamic) {
    if (activation.scale === undefined)
      throw new SchemeError('a static input scheme has no scale yet: calibrate it first');
    const scale = Math.fround(activation.scale);
    roundRange(x, codes, 0, x.length, scale);
    return { tokens, width, codes, scales: Float32Array.of(scale) };
  }
  const perToken = activation.scheme.granularity.kind === 'token';
  const run = perToken ? width : x.length;
  const scales = new Float32Array(perToken ? tokens : 1);
  for (let row = 0, start = 0; row < scales.length; row++, start += run) {
    scales[row] = scaleOf(x, start, start + run);
    roundRange(x, codes, start, start + run, scales[row]);
  }
  return { tokens, width, codes, scales };
}

/** `max|x| / 127`, 1 for zeros. Never 0: a denormal maximum divided by 127 can become 0 in f32. */
function scaleOf(x: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = Math.abs(x[i]);
    if (magnitude > largest) largest = magnitude;
  }
  return largest === 0 ? 1 : Math.fround(largest / largestInt8Code) || 2 ** -149;
}

function roundRange(x: Float32Array, codes: Int8Array, start: number, end: number, scale: number): void {
  let finite = 0;
  for (let i = start; i < end; i++) {
    const ratio = x[i] / scale;
    finite += ratio - ratio; // becomes NaN, and stays NaN, after a NaN or an infinity
    const clamped = Math.max(-largestInt8Code, Math.min(largestInt8Code, ratio));
    codes[i] = clamped + roundingMagic - roundingMagic;
  }
  if (finite !== 0) {
    const bad = x.subarray(start, end).findIndex((value) => !Number.isFinite(value));
    throw new NumericError(
      `the input holds ${x[start + bad]} at element ${start + bad}: the model overflowed before this linear`,
    );
  }
}
