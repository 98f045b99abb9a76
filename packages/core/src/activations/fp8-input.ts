import type { ActivationScheme } from '../contracts/activation-scheme.js';
import { NumericError, SchemeError, ShapeError } from '../contracts/errors.js';
import { e4m3 } from '../formats/minifloat.js';
import { refuseInput } from './refuse-input.js';

const largest = e4m3.max;

/** The reason why inputs cannot be quantized by this scheme, or undefined. */
export function refuseFp8Input(activation: ActivationScheme): string | undefined {
  const { scheme, outlierThreshold, bound } = activation;
  const refusal = refuseInput(activation, e4m3, 'FP8 inputs are E4M3');
  if (refusal) return refusal;
  if (outlierThreshold !== undefined) return 'an outlier threshold is for int8 inputs; FP8 has none';
  if (bound === undefined) return undefined;
  if (!scheme.dynamic) return 'a bound limits dynamic scales; a static scale is known already';
  return bound > 0 && Number.isFinite(bound)
    ? undefined
    : `a bound of ${bound} cannot be used: a positive number was expected, 1200 in the Llama 3 report`;
}

/**
 * The values that E4M3 inputs have after rounding: `scale * e4m3(x / scale)`. A dynamic scale is `min(max|x|, bound) /
 * 448` of the token or of all of `x`, and larger values saturate (Llama 3 report, section 6.2). A static scale is used
 * as it is. FP8 products are sums of exact products in f32, so an f32 product of these values is that of FP8 hardware
 * up to the order of the sum.
 * @param x `[tokens, width]`
 * @throws SchemeError when the scheme is none of these, NumericError when a value is NaN or infinite
 */
export function roundFp8Input(x: Float32Array, width: number, activation: ActivationScheme): Float32Array {
  const refusal = refuseFp8Input(activation);
  if (refusal) throw new SchemeError(refusal);
  if (width < 1 || x.length % width !== 0)
    throw new ShapeError(`${x.length} values are not rows of ${width}: the width of the input does not fit`);
  const { scheme, scale: calibrated, bound = Number.POSITIVE_INFINITY } = activation;
  if (!scheme.dynamic && calibrated === undefined)
    throw new SchemeError('a static input scheme has no scale yet: calibrate it first');
  const rounded = new Float32Array(x.length);
  const run = scheme.dynamic && scheme.granularity.kind === 'token' ? width : x.length;
  for (let start = 0; start < x.length; start += run) {
    const most = largestOf(x, start, start + run);
    const scale = scheme.dynamic ? scaleFor(Math.min(most, bound)) : Math.fround(calibrated as number);
    roundRange(x, rounded, start, start + run, scale);
  }
  return rounded;
}

/** @throws NumericError when a value is NaN or infinite */
function largestOf(x: Float32Array, start: number, end: number): number {
  let most = 0;
  for (let i = start; i < end; i++) {
    const magnitude = Math.abs(x[i]);
    if (!(magnitude < Number.POSITIVE_INFINITY))
      throw new NumericError(`the input holds ${x[i]} at element ${i}: the model overflowed before this linear`);
    if (magnitude > most) most = magnitude;
  }
  return most;
}

/** The scale of a largest magnitude; 0 for zeros. A denormal divided by 448 would become 0 in f32. */
const scaleFor = (most: number) => (most === 0 ? 0 : Math.fround(most / largest) || 2 ** -149);

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/**
 * By the exponent of an f32: `1.5 * 2^52` steps of E4M3 at this exponent. Adding and subtracting it rounds an f64 to a
 * multiple of the step, half to even. A step is 2^-3 of the power of two, and 2^-9 for subnormals.
 */
const roundingMagic = Float64Array.from(
  { length: 256 },
  (_, exponent) => 1.5 * 2 ** (52 + Math.max(exponent - 127, -6) - 3),
);

function roundRange(x: Float32Array, rounded: Float32Array, start: number, end: number, scale: number): void {
  if (scale === 0) return;
  for (let i = start; i < end; i++) {
    const ratio = Math.max(-largest, Math.min(largest, x[i] / scale));
    single[0] = ratio;
    const magic = roundingMagic[(bits[0] >>> 23) & 255];
    rounded[i] = (ratio + magic - magic) * scale;
  }
}
