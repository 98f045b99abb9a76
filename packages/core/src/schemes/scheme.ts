import { SchemeError } from '../contracts/errors.js';
import type { Granularity } from '../contracts/granularity.js';
import type { NumberFormat } from '../contracts/number-format.js';
import type { ScaleStorage, Scheme } from '../contracts/scheme.js';
import { elementCount } from '../tensor.js';
import { perChannel, tiling } from './granularity.js';
import { f16Scale } from './scale-storage.js';

export interface SchemeOptions {
  readonly format: NumberFormat;
  /** Per channel when absent. */
  readonly granularity?: Granularity;
  /** Symmetric (`none`) when absent. */
  readonly zeroPoint?: Scheme['zeroPoint'];
  /** f16 when absent. */
  readonly scaleStorage?: ScaleStorage;
  readonly dynamic?: boolean;
}

/**
 * A scheme with its defaults filled in.
 * @throws SchemeError for a zero point on a format that is not linear
 */
export function scheme(options: SchemeOptions): Scheme {
  const { format, granularity = perChannel, zeroPoint = 'none', scaleStorage = f16Scale, dynamic } = options;
  if (zeroPoint !== 'none' && format.family !== 'linear') {
    throw new SchemeError(
      `${format.name} is symmetric: zeroPoint '${zeroPoint}' needs a linear format (int2..int8, uint2..uint8)`,
    );
  }
  return { format, granularity, zeroPoint, scaleStorage, ...(dynamic === undefined ? {} : { dynamic }) };
}

/**
 * Bits of codes, scales and zero points (integer ones at the format's width, float ones in 16), divided by elements.
 */
export function bitsPerWeight(of: Scheme, shape: readonly number[]): number {
  const { scaleRows, scaleColumns } = tiling(of.granularity, shape);
  const scales = scaleRows * scaleColumns;
  const zeros = of.zeroPoint === 'none' ? 0 : of.zeroPoint === 'integer' ? of.format.bits * scales : 16 * scales;
  const elements = elementCount(shape);
  return elements === 0 ? 0 : of.format.bits + (of.scaleStorage.bits(scales) + zeros) / elements;
}

function describeGranularity(granularity: Granularity): string {
  switch (granularity.kind) {
    case 'group':
      return `g${granularity.size}`;
    case 'block':
      return `block ${granularity.rows}x${granularity.columns}`;
    case 'flat':
      return `flat ${granularity.size}`;
    default:
      return `per ${granularity.kind}`;
  }
}

/** A description: `int4 g128 sym, f16 scales`. */
export function describeScheme(of: Scheme): string {
  const zero = of.zeroPoint === 'none' ? 'sym' : of.zeroPoint === 'integer' ? 'asym' : 'asym float zero';
  const dynamic = of.dynamic ? ', dynamic' : '';
  return `${of.format.name} ${describeGranularity(of.granularity)} ${zero}, ${of.scaleStorage.name} scales${dynamic}`;
}
