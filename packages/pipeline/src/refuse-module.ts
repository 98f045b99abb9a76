import type { PlannedModule } from './plan.js';
import type { Recipe } from './recipe.js';

/** Why a linear cannot be quantized as planned, or nothing. */
export function refuseModule(planned: PlannedModule, recipe: Recipe): string | undefined {
  const { linear, scheme, quantizer } = planned;
  const { granularity } = scheme;
  if (granularity.kind === 'group' && granularity.size > linear.inFeatures)
    return `groupSize ${granularity.size} is larger than its ${linear.inFeatures} input features`;
  return quantizer.refuse?.(scheme, [linear.outFeatures, linear.inFeatures]) ?? recipe.layout.refuse(planned);
}
