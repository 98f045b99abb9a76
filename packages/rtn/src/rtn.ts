import {
  meanSquare,
  type Quantizer,
  quantize,
  type ScaleFit,
  type Scheme,
  SchemeError,
  type Statistics,
  weightedSearch,
} from '@q/core';

export interface RtnOptions {
  /**
   * How scale and zero point are found. Default: the rule of the scheme's own storage or format (shared exponents, binary,
   * ternary), else `weightedSearch()`, the data-free search of opt-RTN. `minMax()` gives RTN as most papers compare with.
   */
  readonly fit?: ScaleFit;
  /**
   * Weights of the columns in that fit. `none` (default): even, no data needed. `diagonal`: mean square of the inputs, from
   * calibration.
   */
  readonly importance?: 'none' | 'diagonal';
}

/**
 * Round to nearest: the floor that every other method must beat. Data-free unless importance is asked for.
 * @throws SchemeError for an importance that it does not have
 */
export function rtn(options: RtnOptions = {}): Quantizer {
  const { fit, importance = 'none' } = options;
  if (importance !== 'none' && importance !== 'diagonal') {
    throw new SchemeError(`rtn takes importance none or diagonal, got ${importance}`);
  }
  const search = weightedSearch();
  const ruleOf = ({ scaleStorage, format }: Scheme) => fit ?? scaleStorage.fit ?? format.fit ?? search;
  const shown = fit ?? search;
  return {
    name: 'rtn',
    options: { fit: shown.name, ...shown.options, importance },
    needs: importance === 'diagonal' ? [meanSquare] : [],
    async quantize(weight, statistics, scheme, { kernels: { grids } }, into) {
      const inputs = importance === 'diagonal' ? meanSquares(statistics) : undefined;
      return {
        quantized: quantize(weight, scheme, { fit: ruleOf(scheme), importance: inputs?.values, grids, into }),
        report: { method: 'rtn', tokens: inputs?.tokens ?? 0, figures: {}, notes: [] },
      };
    },
  };
}

function meanSquares(statistics: Statistics): { values: Float32Array; tokens: number } {
  const { values, count } = statistics.get(meanSquare);
  return { values: Float32Array.from(values, (sum) => sum / count), tokens: count };
}
