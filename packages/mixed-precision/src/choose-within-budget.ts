import { SchemeError } from '@q/core';
import type { Option } from './option.js';
import { bound, hullOf, relaxation, suffixBounds } from './relaxation.js';

export interface Choice {
  /** Index of the option taken, for each unit. */
  readonly chosen: readonly number[];
  readonly cost: number;
  readonly loss: number;
  /** No choice within the budget can lose less than this (the linear relaxation). */
  readonly lowerBound: number;
}

/** A partial choice: the units before some index are decided. `parent` leads back through the decisions. */
interface State {
  readonly cost: number;
  readonly loss: number;
  readonly option: number;
  readonly parent: State | undefined;
}

/**
 * Exactly one option for each unit, least total loss, total cost at most `budget`: the multiple-choice knapsack problem.
 *
 * Exact. Units are decided one after the other; of the partial choices only those stay that no other one beats in both
 * cost and loss (Nemhauser and Ullmann 1969), and whose loss plus the linear relaxation of the open units (Sinha and
 * Zoltners 1979) is below the loss of a known choice. Of equal losses the cheaper choice wins, then the earlier options,
 * so the result depends on the input alone.
 * @throws SchemeError when the cheapest options together are above the budget, or when a number is not finite
 */
export function chooseWithinBudget(units: readonly (readonly Option[])[], budget: number): Choice {
  check(units, budget);
  const hulls = units.map(hullOf);
  const rounded = relaxation(units, hulls, budget);
  const open = suffixBounds(hulls);
  // Sums of the same numbers in another order differ in the last digits.
  const limit = rounded.loss + 1e-12 * units.flat().reduce((sum, { loss }) => sum + Math.abs(loss), 0);
  let states: State[] = [{ cost: 0, loss: 0, option: -1, parent: undefined }];
  for (const [index, options] of units.entries()) {
    const rest = open[index + 1];
    const next: State[] = [];
    for (const parent of states) {
      for (const [option, { cost, loss }] of options.entries()) {
        const state = { cost: parent.cost + cost, loss: parent.loss + loss, option, parent };
        const left = budget - state.cost;
        if (left < rest.cheapest || state.loss + bound(rest, left) > limit) continue;
        next.push(state);
      }
    }
    states = undominated(next);
  }
  const best = states.at(-1) as State;
  const chosen: number[] = [];
  for (let state: State | undefined = best; state?.parent; state = state.parent) chosen.push(state.option);
  return { chosen: chosen.reverse(), cost: best.cost, loss: best.loss, lowerBound: rounded.lowerBound };
}

/** States in rising order of cost, each with less loss than all before it. */
function undominated(states: State[]): State[] {
  states.sort((a, b) => a.cost - b.cost || a.loss - b.loss);
  let least = Number.POSITIVE_INFINITY;
  return states.filter(({ loss }) => {
    if (loss >= least) return false;
    least = loss;
    return true;
  });
}

function check(units: readonly (readonly Option[])[], budget: number): void {
  if (!Number.isFinite(budget)) throw new SchemeError(`the budget is ${budget}: a finite number was expected`);
  let cheapest = 0;
  for (const [index, options] of units.entries()) {
    if (options.length === 0) throw new SchemeError(`unit ${index} has no option to choose from`);
    for (const [option, { cost, loss }] of options.entries()) {
      if (!(Number.isFinite(cost) && cost >= 0))
        throw new SchemeError(
          `unit ${index}, option ${option}: its cost is ${cost}; a finite number >= 0 was expected`,
        );
      if (!Number.isFinite(loss))
        throw new SchemeError(`unit ${index}, option ${option}: its loss is ${loss}; a finite number was expected`);
    }
    cheapest += Math.min(...options.map(({ cost }) => cost));
  }
  if (cheapest > budget)
    throw new SchemeError(`the budget is ${budget}, but the cheapest options together cost ${cheapest}: allow more`);
}
