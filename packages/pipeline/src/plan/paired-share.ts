import type { PlannedModule } from './plan.js';

/**
 * Share of the calibration batches that go through the unquantized model: the largest share that a module needs; 0 for
 * none.
 * @param tokens number of calibration tokens
 */
export function pairedShare(modules: readonly PlannedModule[], tokens: number): number {
  let share = 0;
  for (const { quantizer, linear, scheme } of modules)
    if (quantizer.needs.some(({ paired }) => paired))
      share = Math.max(share, quantizer.pairedTokens?.(tokens, linear.inFeatures, scheme) ?? 1);
  return share;
}
