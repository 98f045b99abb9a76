import type { Checkpoint } from '@q/checkpoint';
import { RefusedRunError, type RunDescription, type Store, sumOfParts } from '@q/distributed';
import { type Plan, planRun, type Rule, recipeJSON, type Vocabulary } from '@q/pipeline';
import { type RecipeRequest, recipeOf } from '../recipe-flags.js';
import { openStoredModel, readText, type StoredModel } from './stored-model.js';

/** The data with which a worker makes the same plan. */
export interface PlannedRun {
  readonly request: RecipeRequest;
  /** Rules before those of the request, for linears that the coordinator decided not to quantize. */
  readonly kept: readonly Rule[];
  /** Checksum of the resulting recipe. */
  readonly recipe: string;
  /** Name of the store's object that describes the model. */
  readonly model: string;
}

const recipeSum = (plan: Plan) => sumOfParts(JSON.stringify(recipeJSON(plan.recipe)));

/**
 * The description of a plan for workers.
 * @param rules number of rules of the requested recipe: earlier rules are for linears that are not quantized
 */
export function describePlan(
  plan: Plan,
  { request, rules, model }: { readonly request: RecipeRequest; readonly rules: number; readonly model: string },
): PlannedRun {
  const kept = plan.recipe.rules.slice(0, plan.recipe.rules.length - rules);
  return { request, kept, recipe: recipeSum(plan), model };
}

/**
 * Makes the plan of a run on a worker. Reads no weights.
 * @throws RefusedRunError when the recipe differs on this worker; StoreError when the store lacks an object
 */
export async function openPlannedRun(
  run: RunDescription,
  store: Store,
  vocabulary: Vocabulary,
): Promise<{ readonly checkpoint: Checkpoint; readonly plan: Plan }> {
  const { request, kept, recipe: sum, model: modelName } = run as unknown as PlannedRun;
  const model = await readText<StoredModel>(store, modelName, 'the list of the tensors of a model');
  const checkpoint = await openStoredModel(model, store, vocabulary);
  const { recipe } = await recipeOf(request, vocabulary);
  const plan = planRun(checkpoint, { ...recipe, rules: [...kept, ...recipe.rules] });
  if (recipeSum(plan) !== sum)
    throw new RefusedRunError(
      'the job is of another recipe: here its flags make other settings. Start the worker with the same --use as the run',
    );
  return { checkpoint, plan };
}
