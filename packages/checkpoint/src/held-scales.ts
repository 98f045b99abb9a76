import { NumericError, type QuantizedTensor } from '@q/core';

/** A linear whose scales are outside of the range of its layout's storage. */
export class ScaleRangeError extends NumericError {
  override name = 'ScaleRangeError';

  constructor(
    message: string,
    readonly module: string,
  ) {
    super(message);
  }
}

const largest = 65504;
/** The step of f16 below 2^-14. */
const step = 2 ** -24;

/**
 * Refuses a linear whose scales f16 cannot represent. Storages clamp scales, so codes stay finite, but a scale at the
 * largest value may represent a larger one. If even the largest scale is only a few steps above zero, all scales have
 * large relative errors. Small scales next to larger ones are harmless: their weights are small compared with the rest.
 * @throws ScaleRangeError naming the module
 */
export function refuseLostScales(module: string, { scheme, scales }: QuantizedTensor): void {
  if (scheme.scaleStorage.name !== 'f16') return;
  let most = 0;
  for (const scale of scales) most = Math.max(most, Math.abs(scale));
  const fewest = step * 2 ** Math.min(scheme.format.bits, 8);
  if (most < largest && (most >= fewest || scales.length === 0)) return;
  const what =
    most >= largest
      ? `larger than ${largest}, the largest f16`
      : `not above ${most.toExponential(2)}, where f16 has steps of ${step.toExponential(2)}`;
  throw new ScaleRangeError(
    `${module}: its scales are ${what}: f16 scales lose its values. Keep it as it is, or choose a layout with f32 scales`,
    module,
  );
}
