import { NumericError, type QuantizedTensor } from '@q/core';

/** A linear whose scales are beyond what its layout's storage holds. */
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
/** Below 2^-14 f16 counts in steps of this. */
const step = 2 ** -24;

/**
 * Refuses a linear that f16 scales lose. Storages clamp scales, so that codes stay finite: a scale at the largest value stands for a
 * larger one, and where even the largest scale is a few steps above zero all of them are wrong by a good part. Small scales beside
 * larger ones are no loss: what they stand for is small beside the rest.
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
