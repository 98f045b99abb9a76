import {
  boolean,
  checkOptions,
  choice,
  fitOption,
  hessian,
  inputShift,
  integer,
  list,
  type Method,
  minMax,
  number,
  type OptionValues,
  pickOptions,
  type Quantizer,
  residualCross,
  SchemeError,
  weightedSearch,
} from '@q/core';
import { type GptqSettings, quantizeLayer } from './quantize-layer.js';

export const gptqOptions = {
  /** Round the columns with the largest inputs first. Default true. */
  actOrder: boolean({ default: true, help: 'Round the columns with the largest inputs first.' }),
  /**
   * With act-order: groups are the original columns and their grids are fixed beforehand, so that no reordering is needed
   * at inference. Default true. Without act-order groups are always refitted on the updated weights.
   */
  staticGroups: boolean({
    default: true,
    help: 'With act-order, fix the grids of the original groups beforehand.',
  }),
  /** Added to the diagonal, as a share of its mean. Default 0.01. */
  damping: number({
    above: 0,
    below: 1,
    default: 0.01,
    help: 'Added to the diagonal of the Hessian, as a share of its mean.',
  }),
  /** Columns a block. Default 128. Kernels with `splitsColumns` sweep in blocks of a size of their own. */
  blockSize: integer({ min: 1, default: 128, help: 'Columns that the sweep takes at once.' }),
  /** How grids are fitted. Default: `weightedSearch()`. */
  fit: fitOption('weightedSearch'),
  /**
   * Weights of the columns in that fit. `diagonal` (default): mean square of the input. `conditional`: what is left of it
   * after later columns have made up for the error. `reference`: mean square of the unquantized model's input. `none`: all
   * alike.
   */
  importance: choice(['none', 'diagonal', 'conditional', 'reference'], {
    default: 'diagonal',
    help: 'Weights of the columns when grids are fitted: all alike, or from the inputs of the layer.',
  }),
  /**
   * Share of the correction for what quantized layers before this one did to its inputs, 0 to 1 (default). Above 0 the
   * unquantized model runs beside the quantized one ({@link retarget}).
   */
  retarget: number({
    min: 0,
    max: 1,
    otherwise: '1, or 0 with asymmetric',
    help: 'Share of the errors of earlier layers that is corrected.',
  }),
  /** With `retarget`: layers that add to the residual stream also make up for the error it already has. Default true. */
  residual: boolean({ default: true, help: 'With retarget, correct the error of the residual stream too.' }),
  /**
   * With `retarget`: share of the calibration tokens on which the unquantized model runs, above 0 and at most 1. The rest of the
   * tokens are in the Hessian alone. Default: see {@link pairedTokensOf}, and twice as many with a further step.
   */
  pairedTokens: number({
    above: 0,
    max: 1,
    otherwise: '8,192 tokens, or 5 for each input feature where these are more',
    help: 'With retarget, share of the calibration tokens on which the unquantized model runs.',
  }),
  /** Rounds of scale refit and coordinate descent after the sweep ({@link refine}). Default 3. */
  refineRounds: integer({
    min: 0,
    max: 100,
    default: 3,
    help: 'Rounds of scale refit and coordinate descent after the sweep.',
  }),
  /**
   * With fixed grids: multiples of the fitted scales that are tried, each with a whole sweep; every row keeps the one with
   * the least loss ({@link solveRanges}). Default 0.7, 0.85, 1, 1.15, 1.3.
   */
  ranges: list(number({ above: 0, help: 'A multiple of the fitted scale.' }), {
    default: [0.7, 0.85, 1, 1.15, 1.3],
    help: 'With fixed grids, multiples of the fitted scales that are tried, each with a whole sweep.',
  }),
  /**
   * Alpha of GPTAQ's sweep ({@link asymmetricSolve}), 0 to 1, for comparison; `retarget` is 0 with it and `ranges` do not
   * apply. Default 0: off.
   */
  asymmetric: number({
    min: 0,
    max: 1,
    default: 0,
    help: "Alpha of GPTAQ's sweep, for comparison; it excludes retarget.",
  }),
};

export type GptqOptions = OptionValues<typeof gptqOptions>;

/** What the paper and its code do, by range of the values: for comparison with other implementations. */
export const paperOptions: GptqOptions = {
  fit: minMax(),
  importance: 'none',
  retarget: 0,
  residual: false,
  refineRounds: 0,
  ranges: [1],
};

/**
 * GPTQ (Frantar et al., arXiv 2210.17323) in its inverse-free form, and by default with what lowers the KL divergence
 * further: targets corrected for the errors of earlier layers, weighted grids, and refinement after the sweep.
 * {@link paperOptions} turns all of that off. Works on any granularity whose scales belong to single
 * rows (channel, group) and on per-tensor grids, and on any number format.
 *
 * @throws SchemeError for an option out of its range, or two that exclude each other
 */
export function gptq(options: GptqOptions = {}): Quantizer {
  return gptqWith(options);
}

/**
 * Tokens on which the unquantized model runs by default. The regression on the inputs has a parameter for each feature. SmolLM2-135M at
 * 3 bits: KL divergence 0.227 with 8,192 tokens in both models, 0.205 with 16,384; without the correction, as published, 0.568. The operations of
 * the whole run are a sixth fewer with 8,192 (docs/speed.md#where-the-time-of-a-run-goes).
 */
const pairedTokensOf = (inFeatures: number) => Math.max(8192, 5 * inFeatures);

/** A step behind the refinement of rows, and what of the end loss it reads. */
export interface FurtherStep {
  readonly options: Readonly<Record<string, unknown>>;
  readonly endLoss: NonNullable<Quantizer['endLoss']>;
  readonly refine: NonNullable<GptqSettings['refineFurther']>;
}

/** {@link gptq} with one step more: handed in, so that who does not use the step does not bundle it. */
export function gptqWith(options: GptqOptions, further?: FurtherStep): Quantizer {
  const {
    actOrder,
    staticGroups,
    damping,
    blockSize,
    importance,
    asymmetric,
    residual,
    refineRounds,
    ranges,
    ...rest
  } = checkOptions('gptq', gptqOptions, options);
  const { fit = weightedSearch(), retarget: share = asymmetric > 0 ? 0 : 1, pairedTokens } = rest;
  if (asymmetric > 0 && share > 0)
    throw new SchemeError(
      `gptq: asymmetric ${asymmetric} and retarget ${share} correct the same error twice: set one of them to 0`,
    );
  const settings = {
    actOrder,
    staticGroups,
    damping,
    blockSize,
    fit,
    retarget: share,
    residual,
    refineRounds,
    ranges,
    asymmetric,
    importance,
  };
  return {
    name: 'gptq',
    options: {
      ...{
        ...settings,
        ...(share > 0 && pairedTokens !== undefined ? { pairedTokens } : {}),
        fit: fit.name,
        ...fit.options,
      },
      ...further?.options,
    },
    pairedTokens: (tokens, inFeatures) =>
      asymmetric > 0 ? 1 : (pairedTokens ?? Math.min(1, (pairedTokensOf(inFeatures) * (further ? 2 : 1)) / tokens)),
    ...(further ? { endLoss: further.endLoss } : {}),
    needs: [
      hessian,
      ...(share > 0 || asymmetric > 0 || importance === 'reference' ? [inputShift] : []),
      ...(share > 0 && residual ? [residualCross] : []),
    ],
    refuse(scheme) {
      const { kind } = scheme.granularity;
      if (kind === 'block' || kind === 'flat') return `gptq needs scales per tensor, channel or group, not per ${kind}`;
      return scheme.format.bits > 8 ? `gptq quantizes to at most 8 bits, not to ${scheme.format.name}` : undefined;
    },
    async quantize(weight, statistics, scheme, context) {
      return quantizeLayer(weight, statistics, scheme, context, {
        ...settings,
        ...(further ? { refineFurther: further.refine } : {}),
      });
    },
  };
}

const paperMethodOptions = {
  ...pickOptions(gptqOptions, 'actOrder', 'staticGroups', 'damping', 'blockSize'),
  fit: fitOption('minMax'),
};

/** GPTQ as its paper has it, by {@link paperOptions}. */
export const gptqPaperMethod: Method<typeof paperMethodOptions> = {
  name: 'gptq-paper',
  summary: 'GPTQ as published',
  options: paperMethodOptions,
  quantizer: (options) => gptq({ ...paperOptions, ...options }),
};
