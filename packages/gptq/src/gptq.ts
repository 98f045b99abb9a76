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
import { type GptqSettings, quantizeLinear } from './quantize-linear.js';

export const gptqOptions = {
  /** Round the columns with the largest inputs first. Default true. */
  actOrder: boolean({ default: true, help: 'Round the columns with the largest inputs first.' }),
  /**
   * With act-order: groups are the original columns and their grids are fixed beforehand, so no reordering is needed at
   * inference. Default true. Without act-order groups are always refitted on the updated weights.
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
  /** Columns a block. Default 128. Kernels with `splitsColumns` choose their own block size. */
  blockSize: integer({ min: 1, default: 128, help: 'Columns that the sweep takes at once.' }),
  /** The fit of the grids. Default: `weightedSearch()`. */
  fit: fitOption('weightedSearch'),
  /**
   * Weights of the columns in that fit. `diagonal` (default): mean square of the input. `conditional`: the part of it
   * that remains after later columns have compensated for the error. `reference`: mean square of the unquantized
   * model's input. `none`: equal weights.
   */
  importance: choice(['none', 'diagonal', 'conditional', 'reference'], {
    default: 'diagonal',
    help: 'Weights of the columns when grids are fitted: equal, or from the inputs of the linear.',
  }),
  /**
   * Share of the correction for the errors that earlier quantized linears cause in this linear's inputs, 0 to 1
   * (default). Above 0 the run also runs the unquantized model ({@link retarget}).
   */
  retarget: number({
    min: 0,
    max: 1,
    otherwise: '1, or 0 with asymmetric',
    help: 'Share of the errors of earlier linears that is corrected.',
  }),
  /** With `retarget`: linears that add to the residual stream also compensate for its error so far. Default true. */
  residual: boolean({ default: true, help: 'With retarget, correct the error of the residual stream too.' }),
  /**
   * With `retarget`: share of the calibration tokens on which the unquantized model runs, above 0 and at most 1. The
   * other tokens are only in the Hessian. Default: see {@link pairedTokensOf}, and twice as many with a further step.
   */
  pairedTokens: number({
    above: 0,
    max: 1,
    otherwise: '8,192 tokens, 32,768 at 2 bits; 5 a feature at least',
    help: 'With retarget, share of tokens on which both models run.',
  }),
  /** Rounds of scale refit and coordinate descent after the sweep ({@link refine}). Default 3. */
  refineRounds: integer({
    min: 0,
    max: 100,
    default: 3,
    help: 'Rounds of scale refit and coordinate descent after the sweep.',
  }),
  /**
   * With fixed grids: multiples of the fitted scales, each tried with a whole sweep; every row keeps the one with the
   * least loss ({@link solveRanges}). Default 0.7, 0.85, 1, 1.15, 1.3.
   */
  ranges: list(number({ above: 0, help: 'A multiple of the fitted scale.' }), {
    default: [0.7, 0.85, 1, 1.15, 1.3],
    help: 'With fixed grids, multiples of the fitted scales that are tried, each with a whole sweep.',
  }),
  /**
   * Alpha of GPTAQ's sweep ({@link asymmetricSolve}), 0 to 1, for comparison. With it `retarget` is 0 and `ranges` has
   * no effect. Default 0: off.
   */
  asymmetric: number({
    min: 0,
    max: 1,
    default: 0,
    help: "Alpha of GPTAQ's sweep, for comparison; it excludes retarget.",
  }),
};

export type GptqOptions = OptionValues<typeof gptqOptions>;

/**
 * The options of the paper and its code, with grids by the range of the values: for comparison with other
 * implementations.
 */
export const paperOptions: GptqOptions = {
  fit: minMax(),
  importance: 'none',
  retarget: 0,
  residual: false,
  refineRounds: 0,
  ranges: [1],
};

/**
 * GPTQ (Frantar et al., arXiv 2210.17323) in its inverse-free form. By default it also corrects targets for the errors
 * of earlier linears, weights its grids, and refines the result of the sweep, which lowers the KL divergence further.
 * {@link paperOptions} turns all of that off. It works on any granularity whose scales belong to single rows (channel,
 * group), on per-tensor grids, and on any number format.
 *
 * @throws SchemeError for an option out of its range, or two that exclude each other
 */
export function gptq(options: GptqOptions = {}): Quantizer {
  return gptqWith(options);
}

/**
 * Tokens on which the unquantized model runs by default. The regression on the inputs has one parameter for each
 * feature. SmolLM2-135M at 3 bits: KL divergence 0.227 with 8,192 tokens in both models, 0.205 with 16,384; without the
 * correction, as published, 0.568. With 8,192 the whole run needs a sixth fewer operations. At 2 bits: 0.806 with 8,192
 * and 0.676 with 32,768 (docs/speed.md#where-the-time-of-a-run-goes).
 */
const pairedTokensOf = (inFeatures: number, bits: number) => Math.max(bits <= 2 ? 32_768 : 8192, 5 * inFeatures);

/** A step after the refinement of rows, and the derivatives of the end loss that it needs. */
export interface FurtherStep {
  readonly options: Readonly<Record<string, unknown>>;
  readonly endLoss: NonNullable<Quantizer['endLoss']>;
  readonly refine: NonNullable<GptqSettings['refineFurther']>;
}

/** {@link gptq} with one more step. The step is an argument, so a program without it does not bundle it. */
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
    pairedTokens: (tokens, inFeatures, { format }) =>
      asymmetric > 0
        ? 1
        : (pairedTokens ?? Math.min(1, (pairedTokensOf(inFeatures, format.bits) * (further ? 2 : 1)) / tokens)),
    ...(further ? { endLoss: further.endLoss } : {}),
    compensates: true,
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
      return quantizeLinear(weight, statistics, scheme, context, {
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

/** GPTQ as published, by {@link paperOptions}. */
export const gptqPaperMethod: Method<typeof paperMethodOptions> = {
  name: 'gptq-paper',
  summary: 'GPTQ as published',
  options: paperMethodOptions,
  quantizer: (options) => gptq({ ...paperOptions, ...options }),
};
