import type { Declaration, Option } from '../contracts/option.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import { named } from '../options/option.js';
import { absMax, absMaxOptions } from './abs-max.js';
import { halfQuadratic, halfQuadraticOptions } from './half-quadratic.js';
import { leastSquaresSupport } from './least-squares-support.js';
import { meanAbsFit, ternaryThreshold } from './mean-abs.js';
import { minMax } from './min-max.js';
import { mseSearch, mseSearchOptions } from './mse-search.js';
import { percentile, percentileOptions } from './percentile.js';
import { weightedSearch, weightedSearchOptions } from './weighted-search.js';

const { bound } = absMaxOptions;

/** The fits of this package that a recipe can name. */
export const declaredFits: readonly Declaration<ScaleFit>[] = [
  { name: 'minMax', summary: 'the range of the values', options: {}, make: () => minMax() },
  { name: 'absMax', summary: 'the largest magnitude', options: absMaxOptions, make: absMax },
  {
    name: 'narrow',
    summary: 'the largest magnitude; the lowest code is not used',
    options: { bound },
    make: (options) => absMax({ ...options, range: 'narrow' }),
  },
  {
    name: 'fullRange',
    summary: 'the largest magnitude gets the lowest code',
    options: { bound },
    make: (options) => absMax({ ...options, range: 'full' }),
  },
  {
    name: 'percentile',
    summary: 'the range that holds a share of the values',
    options: percentileOptions,
    make: percentile,
  },
  {
    name: 'mseSearch',
    summary: 'the shrunken range with the least error',
    options: mseSearchOptions,
    make: mseSearch,
  },
  {
    name: 'weightedSearch',
    summary: 'the scale with the least weighted squared error',
    options: weightedSearchOptions,
    make: weightedSearch,
  },
  {
    name: 'halfQuadratic',
    summary: 'the zero point with the least p-norm of the error (HQQ)',
    options: halfQuadraticOptions,
    make: halfQuadratic,
  },
  {
    name: 'meanAbs',
    summary: 'the mean magnitude, for binary and ternary weights',
    options: {},
    make: () => meanAbsFit(),
  },
  {
    name: 'ternaryThreshold',
    summary: 'the mean of the magnitudes above a threshold (TWN)',
    options: {},
    make: () => ternaryThreshold(),
  },
  {
    name: 'leastSquaresSupport',
    summary: 'the exact least squares of binary and ternary weights',
    options: {},
    make: () => leastSquaresSupport(),
  },
];

/** Whether an object is a fit. */
const isScaleFit = (value: object): value is ScaleFit =>
  typeof (value as Partial<ScaleFit>).fit === 'function' && typeof (value as Partial<ScaleFit>).name === 'string';

/** The option `fit` of a method: code passes a fit, a recipe names one. */
export function fitOption(otherwise: string): Option<ScaleFit> {
  return named<ScaleFit>('fits', isScaleFit, { otherwise, help: 'Fit that finds the scale of each group.' });
}
