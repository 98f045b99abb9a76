import type { Recipe, Rule } from '../recipe/recipe.js';
import { isTable } from './embedding-tables.js';
import type { PlannedModule } from './plan.js';

/** Why a linear cannot be quantized as planned. */
export interface Refusal {
  /** What does not fit, without the name of the module. */
  readonly reason: string;
  /** What the user can do, as a sentence without its full stop. */
  readonly advice: string;
}

/** Suits one module and several. */
const keeping = 'keep such modules with --keep or a rule';

/**
 * The refusal of a linear that cannot be quantized as planned; undefined if it can.
 * @param rule the recipe's rule that matches the linear
 */
export function refuseModule(planned: PlannedModule, recipe: Recipe, rule: Rule): Refusal | undefined {
  const { linear, scheme, quantizer } = planned;
  const { granularity } = scheme;
  const { layout } = recipe;
  if (isTable(linear) && !layout.tables)
    return {
      reason: `readers of the ${layout.name} layout take embeddings as they are, and would find no table`,
      advice: `Use --layout plain, or leave out ${rule.only?.includes('head') ? '--head' : '--embeddings'}`,
    };
  if (linear.stacked && !layout.stacks)
    return {
      reason: `readers of the ${layout.name} layout look for a tensor of each expert, and this model's files have one for all of a layer, which the layouts mxfp4 (transformers, vLLM) and plain hold`,
      advice: `Use --layout mxfp4 or plain, or ${keeping}`,
    };
  const scheming = `Choose another scheme, or ${keeping}`;
  if (granularity.kind === 'group' && granularity.size > linear.inFeatures)
    return {
      reason: `groupSize ${granularity.size} is larger than its ${linear.inFeatures} input features`,
      advice: scheming,
    };
  const unfit = quantizer.refuse?.(scheme, [linear.outFeatures, linear.inFeatures]);
  if (unfit !== undefined) return { reason: unfit, advice: scheming };
  const unheld = layout.refuse(planned);
  if (unheld === undefined) return undefined;
  return {
    reason: unheld,
    advice: layout.name === 'plain' ? scheming : `Choose another scheme or --layout plain, or ${keeping}`,
  };
}
