import { QuantError } from '@q/core';
import { UsageError } from '../usage-error.js';

/** A finished model is further from its original than `--max-kl` allows. The folder and its report are complete. */
class DivergenceError extends QuantError {
  override name = 'DivergenceError';
}

/**
 * Reads `--max-kl` before anything is computed.
 * @param evaluated whether the run is going to measure the divergence
 * @throws UsageError when it is no number above 0, or nothing would be compared with it
 */
export function divergenceLimit(text: string | undefined, evaluated: boolean): number | undefined {
  if (text === undefined) return undefined;
  const limit = Number(text);
  if (text.trim() === '' || !(limit > 0 && Number.isFinite(limit)))
    throw new UsageError(`--max-kl must be a number above 0, in nats per token, got ${JSON.stringify(text)}`);
  if (!evaluated)
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
