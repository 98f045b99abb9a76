import type { Recipe } from '../recipe/recipe.js';
import { isTable } from './embedding-tables.js';
import type { PlannedModule } from './plan.js';

/** The reason why a linear cannot be quantized as planned; undefined if it can. */
export function refuseModule(planned: PlannedModule, recipe: Recipe): string | undefined {
  const { linear, scheme, quantizer } = planned;
  const { granularity } = scheme;
  if (isTable(linear) && !recipe.layout.tables)
    return `readers of the ${recipe.layout.name} layout take embeddings as they are, and would find no table: use another layout (plain)`;
  if (linear.stacked && !recipe.layout.stacks)
    return `readers of the ${recipe.layout.name} layout look for a tensor of each expert, and this model's files have one for all of a layer: use --layout mxfp4 (transformers, vLLM) or plain`;
  if (granularity.kind === 'group' && granularity.size > linear.inFeatures)
    return `groupSize ${granularity.size} is larger than its ${linear.inFeatures} input features`;
  return quantizer.refuse?.(scheme, [linear.outFeatures, linear.inFeatures]) ?? recipe.layout.refuse(planned);
}
