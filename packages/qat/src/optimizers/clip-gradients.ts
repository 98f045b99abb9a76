import type { ParameterSet } from './optimizer.js';

/** Norm of all gradients together, in f64. It is not finite if any gradient is not. */
export function gradientNorm(gradients: ParameterSet): number {
  let square = 0;
  for (const values of gradients.values()) for (let i = 0; i < values.length; i++) square += values[i] * values[i];
  return Math.sqrt(square);
}

/** Scales all gradients down in place so that their common norm is at most `limit`. */
export function clipGradients(gradients: ParameterSet, norm: number, limit: number): void {
  if (!(norm > limit)) return;
  const factor = limit / norm;
  for (const values of gradients.values()) for (let i = 0; i < values.length; i++) values[i] *= factor;
}
