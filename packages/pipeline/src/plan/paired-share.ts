import type { PlannedModule } from './plan.js';

/** Share of the calibration batches that go through the unquantized model: what the most demanding module needs; 0 for none. */
export function pairedShare(modules: readonly PlannedModule[]): number {
  let share = 0;
  for (const { quantizer } of modules)
    if (quantizer.needs.some(({ paired }) => paired)) share = Math.max(share, quantizer.pairedTokens ?? 1);
  return share;
}
