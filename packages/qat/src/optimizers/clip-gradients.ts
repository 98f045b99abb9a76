import type { ParameterSet } from './optimizer.js';

/** Norm of all gradients together, in f64. Not finite when any of them is not. */
export function gradientNorm(gradients: ParameterSet): number {
  let square = 0;
  for (const values of gradients.values()) for (let i = 0; i < values.length; i++) square += values[i] * values[i];
  return Math.sqrt(square);
}

/** Scales all gradients down so that their common norm is at most `limit`. Changes them. */
export function clipGradients(gradients: ParameterSet, norm: number, limit: number): void {
  if (!(norm > limit)) return;
  const factor = limit / norm;
  for (const values of gradients.values()) for (let i = 0; i < values.length; i++) values[i] *= factor;
}
