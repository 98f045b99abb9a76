import type { Statistic, Statistics } from '@q/core';

/** What errors of a linear's output are measured with, when a statistic that was collected has it. */
export function metricOf(collected: readonly Statistic<any>[], statistics: Statistics): ArrayLike<number> | undefined {
  const whole = collected.find(({ metric }) => metric !== undefined);
  if (whole) return whole.metric?.(statistics.get(whole));
  // A method that fits grids to the inputs' squares is judged by them: the error of its weights alone is larger on purpose.
  const part = collected.find(({ diagonal }) => diagonal !== undefined);
  return part?.diagonal?.(statistics.get(part));
}
