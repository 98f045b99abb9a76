import {
  checkOptions,
  choice,
  fitOption,
  type Method,
  meanSquare,
  type OptionValues,
  type Quantizer,
  quantize,
  type Scheme,
  type Statistics,
  tiling,
  tokenFrequencies,
  weightedSearch,
} from '@q/core';

export const rtnOptions = {
  /**
   * The fit of scale and zero point. Default: the fit of the scheme's own storage or format (shared exponents, binary,
   * ternary), else `weightedSearch()`, the data-free search of opt-RTN. `minMax()` is the RTN that most papers compare
   * with.
   */
  fit: fitOption('weightedSearch, or the fit of the scheme itself'),
  /**
   * Weights of the columns in that fit. `none` (default): equal, no data needed. `diagonal`: mean square of the inputs,
   * from calibration.
   */
  importance: choice(['none', 'diagonal'], {
    default: 'none',
    help: 'Weights of the columns when grids are fitted: equal, or the mean square of their inputs.',
  }),
};

export type RtnOptions = OptionValues<typeof rtnOptions>;

/**
 * Round-to-nearest; every other method must beat it. Data-free unless importance is requested.
 * @throws SchemeError for an unknown option, or a value out of its range
 */
export function rtn(options: RtnOptions = {}): Quantizer {
  const { fit, importance } = checkOptions('rtn', rtnOptions, options);
  const search = weightedSearch();
  const fitOf = ({ scaleStorage, format }: Scheme) => fit ?? scaleStorage.fit ?? format.fit ?? search;
  const shown = fit ?? search;
  return {
    name: 'rtn',
    options: { fit: shown.name, ...shown.options, importance },
    needs: importance === 'diagonal' ? [meanSquare] : [],
    async quantize(weight, statistics, scheme, { kernels }, into) {
      const inputs = importance === 'diagonal' ? meanSquares(statistics) : undefined;
      const weights = inputs?.values ?? rowWeights(statistics, scheme, weight.shape);
      return {
        quantized: quantize(weight, scheme, { fit: fitOf(scheme), importance: weights, kernels, into }),
        report: { method: 'rtn', tokens: inputs?.tokens ?? 0, figures: {}, notes: [] },
      };
    },
  };
}

/** Weights of a table's elements by the number of lookups of its rows; undefined if each row has its own scales. */
function rowWeights(statistics: Statistics, scheme: Scheme, shape: readonly number[]): Float32Array | undefined {
  const { rows, columns, tileRows } = tiling(scheme.granularity, shape);
  if (tileRows === 1 || !statistics.has(tokenFrequencies)) return undefined;
  const frequencies = statistics.get(tokenFrequencies);
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) out.fill(frequencies[row] ?? 1, row * columns, (row + 1) * columns);
  return out;
}

function meanSquares(statistics: Statistics): { values: Float32Array; tokens: number } {
  const { values, count } = statistics.get(meanSquare);
  return { values: Float32Array.from(values, (sum) => sum / count), tokens: count };
}

/** The method for the command and recipes. */
export const rtnMethod: Method<typeof rtnOptions> = {
  name: 'rtn',
  summary: 'round to nearest, with a search for the scales; needs no text',
  options: rtnOptions,
  tables: () => rtn(),
  quantizer: rtn,
};
