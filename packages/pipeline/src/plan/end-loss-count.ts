import type { PlannedModule } from './plan.js';

/**
 * Number of calibration windows of which the end loss is differentiated: a quarter, and at least 32; all of them if each
 * token needs its own weight.
 */
export function endLossCount(modules: Iterable<Pick<PlannedModule, 'quantizer'>>, count: number): number {
  for (const { quantizer } of modules) if ((quantizer.endLoss?.tokens ?? 0) > 0) return count;
  return Math.min(count, Math.max(32, Math.ceil(count / 4)));
}
