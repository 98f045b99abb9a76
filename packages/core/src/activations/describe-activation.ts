import type { ActivationScheme } from '../contracts/activation-scheme.js';
import { describeScheme } from '../schemes/scheme.js';

/** A description: `int8 per token sym, f32 scales, dynamic`. */
export function describeActivation({ scheme, outlierThreshold, bound }: ActivationScheme): string {
  const outliers = outlierThreshold === undefined ? '' : `, outliers from ${outlierThreshold} on in f32`;
  return `${describeScheme(scheme)}${bound === undefined ? '' : `, up to ${bound}`}${outliers}`;
}
