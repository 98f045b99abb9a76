import { type Scheme, weightedSearch } from '@q/core';

/** Weights that change together: one scheme for all of them. */
export interface SensitivityUnit {
  readonly name: string;
  /** Linears of one block, or a single table of tokens or head. */
  readonly modules: readonly string[];
  /** Schemes to try; each gives one number. */
  readonly candidates: readonly Scheme[];
  /** Linears that a method with `Quantizer.compensates` quantizes. */
  readonly compensated?: boolean;
}

/**
 * The rounding of weights for sensitivities. It uses no statistics, so experts and attention are treated in the same
 * way. It searches scales, because without a search few bits lose more, compared with many bits, than with a method.
 */
export const roundingFit = weightedSearch();
