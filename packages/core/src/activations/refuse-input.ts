import type { ActivationScheme } from '../contracts/activation-scheme.js';
import type { NumberFormat } from '../contracts/number-format.js';
import { describeScheme } from '../schemes/scheme.js';

/**
 * The reason why inputs of any 8-bit format cannot be quantized by this scheme, or undefined.
 * @param format of the inputs
 * @param expected in words, for the message
 */
export function refuseInput({ scheme, scale }: ActivationScheme, format: NumberFormat, expected: string) {
  const { kind } = scheme.granularity;
  if (scheme.format.name !== format.name || scheme.zeroPoint !== 'none' || (kind !== 'tensor' && kind !== 'token'))
    return `${describeScheme(scheme)}: ${expected}, per token or per tensor`;
  if (!scheme.dynamic && kind === 'token')
    return `${describeScheme(scheme)}: later tokens are not known, so scales per token must be dynamic`;
  return scale === undefined || (scale > 0 && Number.isFinite(scale))
    ? undefined
    : `a static scale of ${scale} cannot be used: calibrate it on inputs that are finite and not all zero`;
}
