import type { ModelStep } from '@q/core';
import { isRewrite } from './recipe.js';

/** The reason why steps are not possible in this order; undefined if they are. */
export function refuseOrder(steps: readonly ModelStep[]): string | undefined {
  for (const [index, step] of steps.entries()) {
    const before = steps.slice(0, index);
    if (before.some(({ name }) => name === step.name))
      return `${step.name} comes twice: once has the effect of both, remove one`;
    const scaled = before.find((earlier) => !isRewrite(earlier));
    if (isRewrite(step) && scaled)
      return `${step.name} comes after ${scaled.name}: it folds the gains of the norms into the linears that read them, which takes back the scales that ${scaled.name} has moved there. Put ${step.name} first`;
    const reason = isRewrite(step) ? undefined : step.refuse?.(before, steps.slice(index + 1));
    if (reason) return `${step.name}: ${reason}`;
  }
  return undefined;
}
