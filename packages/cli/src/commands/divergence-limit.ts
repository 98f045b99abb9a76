import { QuantError } from '@q/core';
import { UsageError } from '../usage-error.js';

/** A finished model differs more from its original than `--max-kl` allows. The folder and its report are complete. */
class DivergenceError extends QuantError {
  override name = 'DivergenceError';
}

/**
 * Checks `--max-kl` before anything is computed.
 * @param evaluated whether the run measures the divergence
 * @throws UsageError when it does not
 */
export function divergenceLimit(limit: number | undefined, evaluated: boolean): number | undefined {
  if (limit !== undefined && !evaluated)
    throw new UsageError('--max-kl needs a comparison with the original on held-out text: give some with --eval-text');
  return limit;
}

/** @throws DivergenceError when the divergence is above the limit */
export function checkDivergence(model: string, kl: number | undefined, limit: number): void {
  if (kl !== undefined && kl <= limit) return;
  throw new DivergenceError(
    `${model}: KL divergence to the original is ${kl?.toFixed(6)} nats per token, above --max-kl ${limit}: use more bits, smaller groups or keep layers`,
  );
}
