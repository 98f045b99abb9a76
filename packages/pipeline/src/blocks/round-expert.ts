import { type Kernels, type QuantizeResult, quantize, type Tensor, weightedSearch } from '@q/core';
import type { PlannedModule } from '../plan/plan.js';

/** The fewest tokens from which statistics of an expert are used. Statistics of fewer tokens are worse than none. */
export const defaultExpertTokens = 64;

/**
 * Quantizes an expert that too few calibration tokens reached: it uses no statistics and searches scales on the
 * weights.
 */
export function roundExpert(
  weight: Tensor<'f32'>,
  { scheme, quantizer }: PlannedModule,
  tokens: number,
  floor: number,
  kernels: Kernels,
): QuantizeResult {
  const reached = tokens === 0 ? 'no calibration token reached' : `only ${tokens} calibration tokens reached`;
  const why = `${reached} this expert, ${floor} are needed for ${quantizer.name}`;
  return {
    quantized: quantize(weight, scheme, { fit: weightedSearch(), kernels }),
    report: {
      method: 'rtn',
      tokens,
      figures: { tokenFloor: floor },
      outcome: { kind: 'fallback', to: 'rtn', reason: 'fewTokens', why },
      notes: [`${why}: it was rounded to nearest with a scale search; more calibration text reaches more experts`],
    },
  };
}
