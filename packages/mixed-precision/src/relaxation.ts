import type { Option } from './option.js';

/**
 * The options of a unit that a linear relaxation can use: the lower left convex hull of (cost, loss), from the cheapest
 * option on, each step with a smaller saving of loss per cost than the one before.
 */
export interface Hull {
  readonly cheapest: { readonly cost: number; readonly loss: number; readonly option: number };
  readonly steps: readonly Step[];
}

/** From one option of the hull to the next. */
interface Step {
  readonly cost: number;
  /** Loss saved, positive. */
  readonly saving: number;
  /** The option that the step arrives at. */
  readonly option: number;
}

export function hullOf(options: readonly Option[]): Hull {
  const sorted = options
    .map(({ cost, loss }, option) => ({ cost, loss, option }))
    .sort((a, b) => a.cost - b.cost || a.loss - b.loss || a.option - b.option);
  const hull: { cost: number; loss: number; option: number }[] = [];
  for (const point of sorted) {
    const last = hull.at(-1);
    if (last && point.loss >= last.loss) continue;
    while (hull.length > 1) {
      const [a, b] = hull.slice(-2);
      // b lies on or above the line from a to the point: no mixture needs it.
      if ((b.loss - a.loss) * (point.cost - a.cost) < (point.loss - a.loss) * (b.cost - a.cost)) break;
      hull.pop();
    }
    hull.push(point);
  }
  const steps = hull.slice(1).map(({ cost, loss, option }, i) => ({
    cost: cost - hull[i].cost,
    saving: hull[i].loss - loss,
    option,
  }));
  return { cheapest: hull[0], steps };
}

/**
 * The linear relaxation of the whole problem, where a unit may be stored partly one way, partly another: steps are taken
 * in falling order of saving per cost until the budget is spent. What it takes whole is a choice (LP rounding).
 */
export function relaxation(
  units: readonly (readonly Option[])[],
  hulls: readonly Hull[],
  budget: number,
): { readonly chosen: readonly number[]; readonly loss: number; readonly lowerBound: number } {
  const chosen = hulls.map(({ cheapest }) => cheapest.option);
  let left = budget - hulls.reduce((sum, { cheapest }) => sum + cheapest.cost, 0);
  const closed = new Set<number>();
  for (const { unit, step } of orderedSteps(hulls)) {
    // A step that does not fit closes its unit: later steps start where it ends. Others may still fit.
    if (closed.has(unit)) continue;
    if (step.cost <= left) {
      left -= step.cost;
      chosen[unit] = step.option;
    } else closed.add(unit);
  }
  return {
    chosen,
    loss: chosen.reduce((sum, option, unit) => sum + units[unit][option].loss, 0),
    lowerBound: bound(suffixBounds(hulls)[0], budget),
  };
}

function orderedSteps(hulls: readonly Hull[]): { readonly unit: number; readonly step: Step }[] {
  return hulls
    .flatMap(({ steps }, unit) => steps.map((step) => ({ unit, step })))
    .sort((a, b) => b.step.saving * a.step.cost - a.step.saving * b.step.cost || a.unit - b.unit);
}

/** What bounds the loss of a set of open units from below. */
export interface SuffixBound {
  /** Least cost of the open units. */
  readonly cheapest: number;
  /** Their loss at that cost. */
  readonly loss: number;
  /** Running sums over the steps in their order: cost and saving after each. */
  readonly costs: Float64Array;
  readonly savings: Float64Array;
}

/** Bounds of the units `i ..`, for every i up to the number of units (none open). */
export function suffixBounds(hulls: readonly Hull[]): readonly SuffixBound[] {
  const ordered = orderedSteps(hulls);
  return Array.from({ length: hulls.length + 1 }, (_, first) => {
    const open = ordered.filter(({ unit }) => unit >= first);
    const costs = new Float64Array(open.length);
    const savings = new Float64Array(open.length);
    let [cost, saving] = [0, 0];
    for (const [i, { step }] of open.entries()) {
      cost += step.cost;
      saving += step.saving;
      costs[i] = cost;
      savings[i] = saving;
    }
    const rest = hulls.slice(first);
    return {
      cheapest: rest.reduce((sum, { cheapest }) => sum + cheapest.cost, 0),
      loss: rest.reduce((sum, { cheapest }) => sum + cheapest.loss, 0),
      costs,
      savings,
    };
  });
}

/** Least loss of the open units at a cost of at most `budget`, when units may be split. */
export function bound({ cheapest, loss, costs, savings }: SuffixBound, budget: number): number {
  const left = budget - cheapest;
  if (left < 0) return Number.POSITIVE_INFINITY;
  let [low, high] = [0, costs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (costs[middle] <= left) low = middle + 1;
    else high = middle;
  }
  const taken = low > 0 ? savings[low - 1] : 0;
  if (low === costs.length) return loss - taken;
  const before = low > 0 ? costs[low - 1] : 0;
  const part = (left - before) / (costs[low] - before);
  return loss - taken - part * (savings[low] - taken);
}
