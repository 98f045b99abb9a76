import {
  absMax,
  absMaxStat,
  type BlockWeights,
  type Context,
  checkOptions,
  choice,
  choiceOf,
  type Declaration,
  edgeChannels,
  foldEdge,
  type Method,
  type ModelStep,
  NumericError,
  number,
  type OptionValues,
  pickOptions,
  type ScalableEdge,
  SchemeError,
  type Statistic,
  type Statistics,
  type Transform,
  type TransformInput,
} from '@q/core';
import { inputRows } from './input-rows.js';
import { type Level, levels, o1, perChannelPerToken } from './levels.js';
import { type Consumer, productError } from './product-error.js';
import { smoothingScales } from './smoothing-scales.js';

export const smoothquantOptions = {
  /**
   * Migration strength: with 0 the activations keep their range, with 1 all of it moves into the weights. `search`
   * takes the value of {@link alphaGrid} with the smallest error of the quantized product, for each edge by itself.
   * Default 0.5, the paper's value for OPT and BLOOM (Llama needs 0.8 to 0.9).
   */
  alpha: number({
    min: 0,
    max: 1,
    or: ['search'],
    default: 0.5,
    help: 'Share of the range that moves from the inputs into the weights; search chooses it for each edge.',
  }),
  /**
   * `norms`: edges whose producer is a norm, as in the paper. `all`: also v -> o, up -> down and fc1 -> relu -> fc2.
   */
  edges: choice(['norms', 'all'], {
    default: 'norms',
    help: 'Edges that are smoothed: those after norms, or also those after linears.',
  }),
  /** The grids for the error of the search; O1 when absent. Weights with a scheme of their own keep it. */
  level: choiceOf<Level>(levels, {
    default: o1,
    is: (value) => 'weight' in value && 'activation' in value,
    help: 'Schemes of weights and inputs: a row of table 2 of the paper, or a scale for each channel.',
  }),
};

export type SmoothQuantOptions = OptionValues<typeof smoothquantOptions>;

/** The values that `alpha: 'search'` tries. */
export const alphaGrid: readonly number[] = Array.from({ length: 20 }, (_, i) => (i + 1) / 20);

/** Inputs of each edge on which the search measures. */
const searchRows = inputRows(256);

/**
 * SmoothQuant (arXiv 2211.10438): divides input channels by per-channel factors and multiplies the weights' columns by
 * them. Then outlier channels no longer widen the activations' grid. The function of the model does not change.
 * @throws SchemeError for an unknown option, or a value out of its range
 */
export function smoothquant(options: SmoothQuantOptions = {}): Transform {
  const { alpha, edges, level } = checkOptions('smoothquant', smoothquantOptions, options);
  const needs: Statistic<any>[] = alpha === 'search' ? [absMaxStat, searchRows] : [absMaxStat];
  return {
    name: 'smoothquant',
    options: { alpha, edges },
    needs,
    edges: (all) => (edges === 'all' ? all : all.filter(({ producer }) => producer.kind === 'norm')),
    async apply(input, context) {
      const changed: BlockWeights = new Map();
      const inputScales = new Map<string, Float32Array>();
      const figures: Record<string, number> = {};
      const notes: string[] = [];
      for (const edge of this.edges(input.edges)) {
        const weights = new Map([...input.weights, ...changed]);
        const found = await edgeScales(edge, weights, input, { alpha, level }, context);
        if (typeof found === 'string') {
          notes.push(`edge ${edge.id}: ${found}`);
          continue;
        }
        const folded = foldEdge(edge, found.scales, weights);
        for (const [name, value] of folded.weights) changed.set(name, value);
        for (const [module, factors] of folded.inputScales) inputScales.set(module, factors);
        figures[`alpha ${edge.id}`] = found.alpha;
      }
      return { weights: changed, inputScales, figures, notes };
    },
  };
}

/** Factors of one edge and their alpha; or a sentence with the reason why the edge stays as it is. */
async function edgeScales(
  edge: ScalableEdge,
  weights: BlockWeights,
  input: TransformInput,
  { alpha, level }: { readonly alpha: number | 'search'; readonly level: Level },
  context: Context,
): Promise<{ scales: Float32Array; alpha: number } | string> {
  const statistics = input.statistics(edge.consumers[0]);
  const { values: maxima } = statistics.get(absMaxStat);
  const consumers = edge.consumers.map((module) => {
    const weight = weights.get(`${module}.weight`);
    if (!weight) throw new SchemeError(`edge ${edge.id}: ${module}.weight is not among the block's tensors`);
    return { weight, scheme: input.scheme(module) ?? level.weight };
  });
  const bad = maxima.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new NumericError(
      `edge ${edge.id}: the largest input of channel ${bad} is ${maxima[bad]}: a calibration batch made the model overflow, or holds NaN`,
    );
  }
  if (maxima.every((value) => value === 0)) return 'every input was 0 on the calibration tokens; not smoothed';
  if (consumers.every(({ weight }) => weight.data.every((value) => value === 0)))
    return 'all its weights are 0; not smoothed';
  const scalesFor = (strength: number) =>
    shareCopies(
      edge,
      smoothingScales(
        maxima,
        consumers.map(({ weight }) => weight),
        strength,
      ),
    );
  if (alpha !== 'search') return { scales: scalesFor(alpha), alpha };
  const best = await searchAlpha(statistics, consumers, scalesFor, level, context);
  return { scales: scalesFor(best), alpha: best };
}

/** The alpha of the grid with the smallest error of the quantized product; the smaller of equal ones. */
async function searchAlpha(
  statistics: Statistics,
  consumers: readonly Consumer[],
  scalesFor: (alpha: number) => Float32Array,
  level: Level,
  { kernels, signal }: Context,
): Promise<number> {
  const { rows, kept, width } = statistics.get(searchRows);
  const { values: maxima } = statistics.get(absMaxStat);
  const shared = { rows: rows.subarray(0, kept * width), width, maxima };
  let best = { alpha: Number.NaN, error: Number.POSITIVE_INFINITY };
  for (const alpha of alphaGrid) {
    signal?.throwIfAborted();
    const error = await productError(shared, consumers, level.activation, scalesFor(alpha), kernels);
    if (error < best.error) best = { alpha, error };
  }
  if (!Number.isFinite(best.error)) throw new NumericError('smoothquant: no alpha gives a finite error of the product');
  return best.alpha;
}

/** Copies of a repeated head share one factor: the largest of theirs, so no copy keeps an outlier. */
function shareCopies(edge: ScalableEdge, scales: Float32Array): Float32Array {
  if ((edge.repeat?.times ?? 1) === 1) return scales;
  const channels = edgeChannels(edge, scales.length);
  const largest = new Map<number, number>();
  for (const [j, channel] of channels.entries()) largest.set(channel, Math.max(largest.get(channel) ?? 0, scales[j]));
  return scales.map((_, j) => largest.get(channels[j]) as number);
}

const methodOptions = {
  ...pickOptions(smoothquantOptions, 'alpha', 'edges'),
  level: { ...smoothquantOptions.level, default: perChannelPerToken },
};

/** The method for the command and recipes: W8A8 in the scheme of a level. */
export const smoothquantMethod: Method<typeof methodOptions> = {
  name: 'smoothquant',
  summary: 'int8 weights and inputs (W8A8), with outliers of the inputs moved into the weights',
  options: methodOptions,
  steps: ({ level = perChannelPerToken, ...options }) => [smoothquant({ ...options, level })],
  base: { method: 'rtn', options: [], defaults: { fit: absMax({ range: 'narrow' }) } },
  schemes: ({ level: { weight, activation } = perChannelPerToken }) => ({ scheme: weight, activation }),
  layout: 'compressed-tensors-int8',
};

/** SmoothQuant as a step before another method. */
export const smoothquantStep: Declaration<ModelStep, typeof smoothquantOptions> = {
  name: 'smoothquant',
  summary: 'outliers of the inputs moved into the weights, before another method',
  options: smoothquantOptions,
  make: smoothquant,
};
