import type { Statistic, Statistics } from '@q/core';

/** The Hessian or its diagonal with which errors of a linear's output are measured, if a collected statistic has one. */
export function metricOf(collected: readonly Statistic<any>[], statistics: Statistics): ArrayLike<number> | undefined {
  const whole = collected.find(({ metric }) => metric !== undefined);
  if (whole) return whole.metric?.(statistics.get(whole));
  // A method that fits grids to the inputs' squares is judged by them, because it accepts a larger error of the weights
  // alone.
  const part = collected.find(({ diagonal }) => diagonal !== undefined);
  return part?.diagonal?.(statistics.get(part));
}
