import {
  CalibrationError,
  type Context,
  type OutputMomentsState,
  outputMoments,
  type Statistic,
  type Statistics,
  type Tensor,
} from '@q/core';
import { type GuardedResult, guard } from '../blocks/guard.js';
import { metricOf } from '../blocks/metric-of.js';
import { defaultExpertTokens, roundExpert } from '../blocks/round-expert.js';
import type { Plan, PlannedModule } from '../plan/plan.js';

/** The statistics of one input, which several linears read. */
export interface CollectedInput {
  readonly statistics: Statistics;
  /** The statistics that `statistics` has, in the order in which a metric of errors is looked for. */
  readonly kinds: readonly Statistic<any>[];
  /** Number of tokens seen. */
  readonly tokens: number;
}

/** A linear with everything that its method reads. */
export interface SolverInputs {
  /** The planned linear. If its inputs have a static scheme, it has the scale. */
  readonly planned: PlannedModule;
  /** `[out, in]`: the weight against which errors are measured. */
  readonly weight: Tensor<'f32'>;
  /** `[out, in]`: the weight that the method quantizes. It differs from `weight` if a transform has clamped it. */
  readonly clipped: Tensor<'f32'>;
  readonly input: CollectedInput;
  /** Moments of the derivatives of the end loss by its outputs, if the method reads them. */
  readonly outputs?: OutputMomentsState;
  /** Whether a router chose its tokens. */
  readonly routed: boolean;
}

/**
 * Quantizes a linear of a calibrated run, and judges the result on its inputs. The bits depend only on the arguments.
 * @throws CalibrationError when no token has reached the linear; and the errors of the method
 */
export async function solveModule(
  plan: Plan,
  { planned, weight, clipped, input, outputs, routed }: SolverInputs,
  context: Context,
): Promise<GuardedResult> {
  const { scheme, quantizer, linear } = planned;
  const { module } = linear;
  const { kinds, tokens } = input;
  const { profile, kernels } = context;
  const floor = plan.recipe.expertTokens ?? defaultExpertTokens;
  const learns = quantizer.needs.length > 0;
  const result =
    learns && routed && tokens < floor
      ? roundExpert(clipped, planned, tokens, floor, kernels)
      : await profile.stage(quantizer.name, () =>
          quantizer.quantize(clipped, withOutputs(input.statistics, outputs), scheme, context),
        );
  if (learns && !routed && result.report.tokens === 0)
    throw new CalibrationError(`${module}: no calibration token reached this module`);
  const metric = tokens > 0 ? metricOf(kinds, input.statistics) : undefined;
  const guarded = { module, method: quantizer.name, scheme, weight, result, hessian: metric, wantsValues: true };
  return profile.stage('guard', () => guard(guarded, kernels));
}

/** The collected statistics, with the moments of the linear's own outputs. */
function withOutputs(statistics: Statistics, outputs: OutputMomentsState | undefined): Statistics {
  if (!outputs) return statistics;
  return {
    get: <State>(statistic: Statistic<State>) =>
      statistic.name === outputMoments.name ? (outputs as State) : statistics.get(statistic),
    has: (statistic: Statistic<unknown>) => statistic.name === outputMoments.name || statistics.has(statistic),
  };
}
