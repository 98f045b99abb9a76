import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, type Kernels, type Quantizer } from '@q/core';
import { createTrainingEngine } from '@q/kernels-wasm';
import { type Budget, checkpointSensitivity, fitToBudget } from '@q/pipeline';
import { asymmetric, type MeasuredRun, measureRecipe } from './measure-recipe.js';
import type { Subject } from './subject.js';

const layout = gptqLayout();

export interface BudgetMeasureOptions {
  /** Windows on which sensitivities are found. Default 16. */
  readonly windows?: number;
  /** Default `walk`. */
  readonly by?: 'walk' | 'one-pass';
}

/**
 * Measures recipes that choose the bits of each unit within a budget by the loss of the whole model. Sensitivities are
 * measured once, on the first calibration windows, and used for every budget.
 */
export function budgetMeasure(
  subject: Subject,
  quantizer: Quantizer,
  group: number,
  kernels: Kernels,
  { windows: sensitivityWindows = 16, by = 'walk' }: BudgetMeasureOptions = {},
): (budget: Budget) => Promise<{ run: MeasuredRun; widths: readonly number[] }> {
  const candidates = [2, 3, 4, 8].map((bits) => asymmetric(bits, group));
  const { ids, length, count: all } = subject.calibration;
  const count = Math.min(sensitivityWindows, all);
  const windows = { ids: ids.subarray(0, count * length), count, length };
  const open = { layout, rules: [{ match: /^(?!lm_head$)/, quantizer, candidates }], seed: 0 };
  let sensitivities: ReadonlyMap<string, readonly number[]> | undefined;
  return async (budget) => {
    const source = await openCheckpoint(subject.folder, [layout]);
    const { recipe, choices } = await fitToBudget(source, open, budget, async (units) => {
      sensitivities ??= await checkpointSensitivity(source, open, units, {
        context: createContext({ kernels }),
        by: { kind: by, engine: () => createTrainingEngine({ threads: kernels.threads }) },
        windows,
      });
      return sensitivities;
    });
    await source.close();
    const run = await measureRecipe(subject, quantizer, candidates[0], kernels, { rules: recipe.rules });
    return { run, widths: choices.map(({ options, chosen }) => options[chosen].bits) };
  };
}
