import { NumericError, type QuantizedTensor, tiling } from '@q/core';

/** Above, a value becomes infinite in f16. */
const largestF16 = 65519.99;
/** Below, f16 has fewer than 32 steps: if the largest value of a tensor is this small, the others are lost. */
const smallestF16 = 2 ** -19;

/** Index of the value of largest magnitude. */
function largestIndex(values: Float32Array): number {
  let found = 0;
  for (let i = 1; i < values.length; i++) if (Math.abs(values[i]!) > Math.abs(values[found]!)) found = i;
  return found;
}

/**
 * Checks values that are to be written in f16.
 * @param name of the tensor
 * @param small whether values that all become zero matter: in a matrix they do, in a bias they do not
 * @throws NumericError naming the tensor and its largest value
 */
export function refuseF16Values(name: string, values: Float32Array, small: boolean): void {
  const largest = Math.abs(values[largestIndex(values)] ?? 0);
  if (largest > largestF16 || (small && largest > 0 && largest < smallestF16))
    throw new NumericError(
      `${name}: its largest value is ${largest.toPrecision(4)}, and f16 holds values from 2e-6 to 65504: choose a type ` +
        'with values in f32 (fp32, q8, q4, q2)',
    );
}

/**
 * Checks codes whose scales are to be written in f16. A scale that f16 does not hold was rounded to the nearest one that it holds: then the
 * largest value of the matrix is less than a step, or more than all of them.
 * @param values the matrix that the codes were made of
 * @throws NumericError naming the tensor and its largest value
 */
export function refuseF16Scales(name: string, values: Float32Array, quantized: QuantizedTensor): void {
  const { scales, scheme, shape } = quantized;
  const { tileRows, tileColumns, scaleColumns } = tiling(scheme.granularity, shape);
  const at = largestIndex(values);
  const largest = Math.abs(values[at] ?? 0);
  const columns = shape[1] as number;
  const [row, column] = [Math.floor(at / columns), at % columns];
  const scale = Math.abs(scales[Math.floor(row / tileRows) * scaleColumns + Math.floor(column / tileColumns)]!);
  const steps = largest / scale;
  if (largest === 0 || (steps >= 0.75 && steps <= 1.25 * 2 ** scheme.format.bits)) return;
  throw new NumericError(
    `${name}: its largest value is ${largest.toPrecision(4)}, and no f16 scale of ${scheme.format.name} codes holds it: choose a ` +
      'type with f32 scales (q4, q2, q8)',
  );
}
