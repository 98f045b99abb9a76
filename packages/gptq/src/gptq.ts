import {
  crossHessian,
  hessian,
  minMax,
  type Quantizer,
  residualCross,
  type ScaleFit,
  SchemeError,
  weightedSearch,
} from '@q/core';
import { quantizeLayer } from './quantize-layer.js';

export interface GptqOptions {
  /** Round the columns with the largest inputs first. Default true. */
  readonly actOrder?: boolean;
  /**
   * With act-order: groups are the original columns and their grids are fixed beforehand, so that no reordering is needed
   * at inference. Default true. Without act-order groups are always refitted on the updated weights.
   */
  readonly staticGroups?: boolean;
  /** Added to the diagonal, as a share of its mean. Default 0.01. */
  readonly damping?: number;
  /** Columns a block. Default 128. Kernels with `wholeSweeps` sweep in blocks of a size of their own. */
  readonly blockSize?: number;
  /** How grids are fitted. Default: `weightedSearch()`. */
  readonly fit?: ScaleFit;
  /**
   * Weights of the columns in that fit. `diagonal` (default): mean square of the input. `conditional`: what is left of it
   * after later columns have made up for the error. `reference`: mean square of the unquantized model's input. `none`: all
   * alike.
   */
  readonly importance?: 'none' | 'diagonal' | 'conditional' | 'reference';
  /**
   * Share of the correction for what quantized layers before this one did to its inputs, 0 to 1 (default). Above 0 the
   * unquantized model runs beside the quantized one ({@link retarget}).
   */
  readonly retarget?: number;
  /** With `retarget`: layers that add to the residual stream also make up for the error it already has. Default true. */
  readonly residual?: boolean;
  /** Rounds of scale refit and coordinate descent after the sweep ({@link refine}). Default 3. */
  readonly refineRounds?: number;
  /**
   * With fixed grids: multiples of the fitted scales that are tried, each with a whole sweep; every row keeps the one with
   * the least loss ({@link solveRanges}). Default 0.7, 0.85, 1, 1.15, 1.3.
   */
  readonly ranges?: readonly number[];
  /**
   * Alpha of GPTAQ's sweep ({@link asymmetricSolve}), 0 to 1, for comparison; `retarget` is 0 with it and `ranges` do not
   * apply. Default 0: off.
   */
  readonly asymmetric?: number;
}

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
  const {
    actOrder = true,
    staticGroups = true,
    damping = 0.01,
    blockSize = 128,
    fit = weightedSearch(),
    importance = 'diagonal',
    asymmetric = 0,
    retarget: share = asymmetric > 0 ? 0 : 1,
    residual = true,
    refineRounds = 3,
    ranges = [0.7, 0.85, 1, 1.15, 1.3],
  } = options;
  if (!(share >= 0 && share <= 1)) throw new SchemeError(`gptq: retarget must be between 0 and 1, got ${share}`);
  if (!(asymmetric >= 0 && asymmetric <= 1))
    throw new SchemeError(`gptq: asymmetric must be between 0 and 1, got ${asymmetric}`);
  if (asymmetric > 0 && share > 0)
    throw new SchemeError(
      `gptq: asymmetric ${asymmetric} and retarget ${share} correct the same error twice: set one of them to 0`,
    );
  if (ranges.length === 0 || !ranges.every((range) => range > 0 && Number.isFinite(range)))
    throw new SchemeError(`gptq: ranges must be one or more numbers above 0, got [${ranges.join(', ')}]`);
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
    options: { ...settings, fit: fit.name, ...fit.options },
    needs: [
      hessian,
      ...(share > 0 || asymmetric > 0 || importance === 'reference' ? [crossHessian] : []),
      ...(share > 0 && residual ? [residualCross] : []),
    ],
    refuse(scheme) {
      const { kind } = scheme.granularity;
      if (kind === 'block' || kind === 'flat') return `gptq needs scales per tensor, channel or group, not per ${kind}`;
      return scheme.format.bits > 8 ? `gptq quantizes to at most 8 bits, not to ${scheme.format.name}` : undefined;
    },
    async quantize(weight, statistics, scheme, context) {
      return quantizeLayer(weight, statistics, scheme, context, settings);
    },
  };
}
