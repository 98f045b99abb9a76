import { type ModelConfig, ropeSettings } from '../config.js';

/** Base of the rotary frequencies, and the share of a head's values that is rotated. */
export function ropeSettingsShare(
  config: ModelConfig,
  key: string,
  absent: number,
): { readonly theta: number; readonly share: number } {
  const { theta, scaling } = ropeSettings(config);
  return { theta, share: scaling.number('partial_rotary_factor', config.number(key, absent)) };
}
