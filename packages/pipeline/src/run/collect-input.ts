import type { BlockWalk } from '@q/blockwise';
import { type Collector, createCollector } from '@q/calib';
import { absMaxStat, type Context, hessian, type Stage, type Statistic } from '@q/core';
import { collect, comparedOutput } from '../blocks/collect.js';
import { type StageInput, stageInputs } from '../blocks/stage-inputs.js';
import { isStatic, type Plan, type PlannedModule } from '../plan/plan.js';
import type { StagePlace } from './remote-windows.js';

/** An input of a stage, and how its statistics are collected. */
export interface InputRequest {
  readonly input: StageInput;
  /** The statistics, in the order in which a metric of errors is looked for. */
  readonly kinds: readonly Statistic<any>[];
  /** Weights of all calibration tokens in the sums. Default: all tokens weigh the same. */
  readonly tokenWeights?: Float32Array;
  /** Factors by which transforms have multiplied the input, `[width]`: the unquantized model's gets them too. */
  readonly inputScales?: Float32Array;
}

/** The statistics of an input. */
export interface InputStatistics {
  readonly collector: Collector;
  /** The largest inputs, if linears have static scales of inputs; often the same collector. */
  readonly ranges: Collector;
}

/**
 * The statistics that the linears of an input need.
 * @param clipped weights that a transform has clamped, by tensor name
 */
export function neededStatistics(
  { modules, weighted }: StageInput,
  clipped: ReadonlyMap<string, unknown> = new Map(),
): readonly Statistic<any>[] {
  const needs = new Map<string, Statistic<any>>();
  for (const { quantizer } of modules) for (const statistic of quantizer.needs) needs.set(statistic.name, statistic);
  // Clamping a weight reduces the error of the outputs and increases the error of the weight, so only its inputs can
  // judge it.
  const clamped = modules.some(({ linear: { module } }) => clipped.has(`${module}.weight`));
  if (clamped && ![...needs.values()].some(({ metric }) => metric !== undefined)) needs.set(hessian.name, hessian);
  if (wantsRange(modules) && weighted === 0) needs.set(absMaxStat.name, absMaxStat);
  return [...needs.values()];
}

const wantsRange = (modules: StageInput['modules']) => modules.some(({ activation }) => isStatic(activation));

/** Whether an input has a collector of its own for its range: weights of tokens are for sums, and a range has none. */
const hasOwnRange = ({ modules, weighted }: StageInput): boolean => weighted > 0 && wantsRange(modules);

/**
 * The input of a stage that a linear reads, for a process from which its statistics are requested; undefined if there
 * is none.
 * @param module the first planned linear that reads it
 * @param weighted whether the end loss weights its tokens
 */
export function requestedInput(
  plan: Plan,
  { block, stage }: StagePlace,
  module: string,
  weighted: boolean,
): StageInput | undefined {
  const found = plan.model?.blocks[block]?.stages[stage];
  return (found ? stageInputs(found, plannedIn(found, plan)) : []).find(
    ({ modules, weighted: strength }) => modules[0].linear.module === module && strength > 0 === weighted,
  );
}

/** The planned linears of a stage, in its order. */
export const plannedIn = (stage: Stage, { modules }: Plan): readonly PlannedModule[] =>
  stage.linears.map((module) => modules.get(module)).filter((module) => module !== undefined);

/** A collector for an input, and one for its range; both are empty if `make` gives empty ones. */
export function inputCollectors(
  { input, kinds }: Pick<InputRequest, 'input' | 'kinds'>,
  make: (kinds: readonly Statistic<any>[], width: number, module: string) => Collector = createCollector,
): InputStatistics {
  const [{ linear }] = input.modules;
  const collector = make(kinds, linear.inFeatures, linear.module);
  return {
    collector,
    ranges: hasOwnRange(input) ? make([absMaxStat], linear.inFeatures, linear.module) : collector,
  };
}

/** The windows before a stage, in the quantized model and in the unquantized one. */
export interface StageStreams<T> {
  readonly stage: Stage;
  readonly walk: BlockWalk<T>;
  readonly original: BlockWalk<T> | undefined;
  /** True if some batches of some shard do not go through the unquantized model, and there are several shards. */
  readonly partly: boolean;
  readonly context: Context;
}

/** Collects the statistics of an input on all windows of the walk. */
export async function collectInput<T>(
  request: InputRequest,
  { stage, walk, original, partly, context }: StageStreams<T>,
): Promise<InputStatistics> {
  const { input, kinds, tokenWeights, inputScales } = request;
  const { part } = input;
  const output = comparedOutput(stage, kinds);
  const reference = original && { walk: original, stage, partly, output, inputScales };
  const create = () => inputCollectors(request).collector;
  const collector = await collect(create, walk, context, { original: reference, part, tokenWeights });
  if (!hasOwnRange(input)) return { collector, ranges: collector };
  return { collector, ranges: await collect(() => inputCollectors(request).ranges, walk, context, { part }) };
}
