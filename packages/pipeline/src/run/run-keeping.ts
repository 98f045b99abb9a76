import { ScaleRangeError } from '@q/checkpoint';
import type { CalibrationShape } from '../plan/forecast.js';
import { type Plan, planRun } from '../plan/plan.js';
import { type RunOptions, type RunResult, runPlan } from './run.js';

/** Options of {@link runPlan}, and the parts from which a plan is made again. */
export interface KeepingOptions<T, F = T> extends RunOptions<T, F> {
  readonly shape?: CalibrationShape;
  /** Called for each linear that is kept, with the plan that is then carried out. */
  kept(text: string, plan: Plan): void;
}

/**
 * Carries out a plan as {@link runPlan} does. If the layout cannot hold the scales of a linear, that linear is kept
 * unquantized, with the linears that runtimes fuse with it. Then the run begins again, because the positions of all
 * tensors in the files are decided before the first one is written.
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
