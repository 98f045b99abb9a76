import { ScaleRangeError } from '@q/checkpoint';
import type { CalibrationShape } from '../plan/forecast.js';
import { type Plan, planRun } from '../plan/plan.js';
import { type RunOptions, type RunResult, runPlan } from './run.js';

/** As for {@link runPlan}, and what a plan is made again with. */
export interface KeepingOptions<T, F = T> extends RunOptions<T, F> {
  readonly shape?: CalibrationShape;
  /** Told of each linear that is kept, and of the plan that is then carried out. */
  kept(text: string, plan: Plan): void;
}

/**
 * Carries out a plan as {@link runPlan} does. A linear whose scales the layout does not hold is kept as it is, with those that
 * runtimes fuse with it, and the run is begun again: which files are written where is decided before the first one.
 */
export async function runKeeping<T, F = T>(plan: Plan, options: KeepingOptions<T, F>): Promise<RunResult> {
  try {
    return await runPlan(plan, options);
  } catch (error) {
    if (!(error instanceof ScaleRangeError) || !plan.modules.has(error.module)) throw error;
    const { module } = error;
    const groups = plan.model?.blocks.flatMap(({ fusionGroups }) => fusionGroups) ?? [];
    const kept = groups.find((group) => group.includes(module)) ?? [module];
    const rules = kept.map((match) => ({ name: `${module} is beyond f16 scales`, match, keep: true }));
    const recipe = { ...plan.recipe, rules: [...rules, ...plan.recipe.rules] };
    const next = planRun(plan.checkpoint, recipe, options.shape);
    const words = kept.length > 1 ? `${kept.join(', ')} are kept as they are` : 'It is kept as it is';
    options.kept(`${error.message}. ${words}`, next);
    return runKeeping(next, options);
  }
}
