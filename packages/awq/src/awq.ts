import {
  type BlockWeights,
  boolean,
  type Context,
  checkOptions,
  choice,
  type Declaration,
  edgeChannels,
  fitOption,
  foldEdge,
  hessian,
  integer,
  type LinearRole,
  type Method,
  type ModelStep,
  meanAbs,
  minMax,
  type OptionValues,
  type ScaleFit,
  type Transform,
  type TransformInput,
  type TransformResult,
} from '@q/core';
import { clipWeight } from './clip.js';
import { layerError, moduleError, type Objective } from './objective.js';
import { searchScales } from './search-scales.js';

const awqOptions = {
  /** Ratios between 0 (no scaling) and 1 (exclusive). Default 20, as in the paper. */
  gridPoints: integer({ min: 2, default: 20, help: 'Ratios that are tried for each group of linears.' }),
  /** Try every ratio, as in the paper, instead of refining a coarse grid around its best point. Default false. */
  exhaustive: boolean({ default: false, help: 'Try every ratio instead of refining a coarse grid.' }),
  /**
   * The error of a candidate. `layer` (default): the error of the linears' own outputs, `tr(D H D^T)` over all
   * calibration tokens, without a forward pass. `module` (the paper's): the error of the output of the whole attention
   * or MLP on a few calibration windows. In measurements both results are equally near to the original, and `layer`
   * takes less time (docs/awq.md).
   */
  objective: choice(['layer', 'module'], {
    default: 'layer',
    help: 'Error that scales minimise: of the outputs of the linears, or of the whole attention or MLP.',
  }),
  /** Search a clamping range for each group after scaling, except for queries and keys. Default true. */
  clip: boolean({ default: true, help: 'Also search a clamping range for each group.' }),
  /** The fit of the quantizer that follows; the search measures candidates on its grid. Default `minMax()`. */
  fit: fitOption('minMax'),
};

export type AwqOptions = OptionValues<typeof awqOptions>;

const objectives: Readonly<Record<'module' | 'layer', Objective>> = { module: moduleError, layer: layerError };

/**
 * Linears with these roles are not clamped: the scores multiply errors of queries and keys with each other, and the
 * error of a single linear does not show this (llm-awq skips the same). A fused linear with queries, keys and values is
 * one of them.
 */
const notClamped: readonly LinearRole[] = ['query', 'key'];

/**
 * AWQ (Lin et al., arXiv 2306.00978, section 3.2): scales `s_j = mean|x_j|^r` for the inputs of each group of linears,
 * with the ratio r of least error on the scheme's real grid. They are folded into the producer of the inputs. Then it
 * clamps the weights for the quantizer, which can be any method: with `rtn` this is AWQ itself.
 * @throws SchemeError for options out of range
 */
export function awq(options: AwqOptions = {}): Transform {
  const { gridPoints, exhaustive, objective, clip, fit = minMax() } = checkOptions('awq', awqOptions, options);
  return {
    name: 'awq',
    options: { gridPoints, exhaustive, objective, clip, fit: fit.name, ...fit.options },
    needs: clip || objective === 'layer' ? [meanAbs, hessian] : [meanAbs],
    edges: (edges) => edges,
    refuse(_before, after) {
      const later = after.find((step) => 'edges' in step);
      return later
        ? `${later.name} runs after it and chooses its scales again, which undoes those of awq, and the clamped weights fit only the grid that they were searched on. Put awq last`
        : undefined;
    },
    apply: (input, context) =>
      applyAwq(input, context, { gridPoints, exhaustive, objective: objectives[objective], clip, fit }),
  };
}

interface Settings {
  readonly gridPoints: number;
  readonly exhaustive: boolean;
  readonly objective: Objective;
  readonly clip: boolean;
  readonly fit: ScaleFit;
}

async function applyAwq(input: TransformInput, context: Context, settings: Settings): Promise<TransformResult> {
  const weights: BlockWeights = new Map(input.weights);
  const inputScales = new Map<string, Float32Array>();
  const figures: Record<string, number> = {};
  const notes: string[] = [];
  for (const edge of input.edges) {
    // Linears that are not quantized share the input, and are scaled with the others; their error is 0 for every
    // candidate.
    const quantized = edge.consumers.filter((module) => input.scheme(module));
    if (quantized.length === 0) continue;
    const statistic = input.statistics(edge.consumers[0]).get(meanAbs);
    if (statistic.count === 0) {
      notes.push(`${edge.id}: no calibration token reached it: not scaled`);
      continue;
    }
    const magnitudes = Float64Array.from(statistic.values, (sum) => sum / statistic.count);
    const error = settings.objective(input, quantized, settings.fit, context);
    const channels = edgeChannels(edge, magnitudes.length);
    const found = await searchScales(magnitudes, channels, settings.gridPoints, error, settings.exhaustive);
    figures[`${edge.id} ratio`] = found.ratio;
    figures[`${edge.id} error`] = found.error;
    figures[`${edge.id} errorUnscaled`] = found.errorUnscaled;
    if (found.deadChannels > 0) figures[`${edge.id} deadChannels`] = found.deadChannels;
    if (found.ratio === 0) continue;
    const folded = foldEdge(edge, found.scales, weights);
    for (const [name, values] of folded.weights) weights.set(name, values);
    for (const [module, factors] of folded.inputScales) inputScales.set(module, factors);
  }
  const changed: BlockWeights = new Map([...weights].filter(([name, values]) => input.weights.get(name) !== values));
  const clipped = settings.clip
    ? await clipWeights(input, { weights, inputScales }, settings.fit, figures, context)
    : undefined;
  return { weights: changed, ...(clipped ? { clipped } : {}), inputScales, figures, notes };
}

/** Clamps every quantized linear of the block except queries and keys. */
async function clipWeights(
  input: TransformInput,
  { weights, inputScales }: Pick<Required<TransformResult>, 'weights' | 'inputScales'>,
  fit: ScaleFit,
  figures: Record<string, number>,
  { kernels }: Context,
): Promise<BlockWeights> {
  const clipped: BlockWeights = new Map();
  for (const [name, weight] of weights) {
    const module = name.replace(/\.weight$/, '');
    const scheme = name.endsWith('.weight') ? input.scheme(module) : undefined;
    if (!scheme || input.roles(module).some((role) => notClamped.includes(role))) continue;
    const { kind } = scheme.granularity;
    if (kind !== 'channel' && kind !== 'group') continue;
    const inputs = { hessian: input.statistics(module).get(hessian).sum, inputScales: inputScales.get(module), fit };
    const result = await clipWeight(weight, scheme, inputs, kernels);
    if (result.clippedGroups === 0) continue;
    clipped.set(name, result.weight);
    figures[`${module} clippedGroups`] = result.clippedGroups;
  }
  return clipped;
}

/** The method for the command and recipes: the transform, then round-to-nearest with the same fit. */
export const awqMethod: Method<typeof awqOptions> = {
  name: 'awq',
  summary: 'scales of the input channels that lower the errors of important weights, then round-to-nearest',
  options: awqOptions,
  steps: (options) => [awq(options)],
  base: { method: 'rtn', options: ['fit'], defaults: { fit: minMax() } },
};

const { clip: _, ...stepOptions } = awqOptions;

/** AWQ as a step before another method. That method fits its own grids, so weights are not clamped. */
export const awqStep: Declaration<ModelStep, typeof stepOptions> = {
  name: 'awq',
  summary: 'scales of the input channels, without clamping, before another method',
  options: stepOptions,
  make: (options) => awq({ ...options, clip: false }),
};
