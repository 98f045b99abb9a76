import { SchemeError } from '../contracts/errors.js';
import type { Granularity } from '../contracts/granularity.js';
import type { NumberFormat } from '../contracts/number-format.js';
import type { ScaleStorage, Scheme } from '../contracts/scheme.js';
import { builtinFormats } from '../formats/builtin.js';
import { doubleQuantizedScale } from './double-quantized-scale.js';
import { perBlock, perChannel, perFlat, perGroup, perTensor, perToken } from './granularity.js';
import { absMax127Scale, bf16Scale, f16Scale, f32Scale, unitScale } from './scale-storage.js';
import { scheme } from './scheme.js';
import { sharedExponentScale } from './shared-exponent-scale.js';
import { twoLevelScale } from './two-level-scale.js';

/** Makes a storage from the options that its `toJSON` wrote; keyed by the name of the storage. */
export type ScaleStorageMakers = ReadonlyMap<string, (options: any) => ScaleStorage>;

export const builtinScaleStorages: ScaleStorageMakers = new Map<string, (options: any) => ScaleStorage>([
  ['f32', () => f32Scale],
  ['f16', () => f16Scale],
  ['bf16', () => bf16Scale],
  ['unit', () => unitScale],
  ['absmax127', () => absMax127Scale],
  ['e8m0', sharedExponentScale],
  ['e4m3', twoLevelScale],
  ['double', doubleQuantizedScale],
]);

export interface SchemeVocabulary {
  /** Allowed formats. Default {@link builtinFormats}; add codebooks and your own formats. */
  readonly formats?: readonly NumberFormat[];
  /** Default {@link builtinScaleStorages}. */
  readonly scaleStorages?: ScaleStorageMakers;
}

/**
 * A scheme from the output of `JSON.stringify(scheme)`, as text or parsed.
 * @throws SchemeError naming the key that is missing or unknown, and its allowed values
 */
export function schemeFromJSON(json: unknown, vocabulary: SchemeVocabulary = {}): Scheme {
  const { formats = builtinFormats, scaleStorages = builtinScaleStorages } = vocabulary;
  const value = typeof json === 'string' ? parse(json) : json;
  if (typeof value !== 'object' || value === null)
    throw new SchemeError(`a scheme is an object, got ${JSON.stringify(json)}`);
  const { format: name, granularity, zeroPoint, scaleStorage, dynamic } = value as Record<string, unknown>;
  const format = formats.find((known) => known.name === name);
  if (!format) {
    throw new SchemeError(
      `scheme.format ${typeof name === 'string' ? name : JSON.stringify(name)}: is not known (${formats.map((known) => known.name).join(', ')})`,
    );
  }
  if (zeroPoint !== 'none' && zeroPoint !== 'integer' && zeroPoint !== 'float') {
    throw new SchemeError(`scheme.zeroPoint ${JSON.stringify(zeroPoint)}: none, integer or float was expected`);
  }
  if (dynamic !== undefined && typeof dynamic !== 'boolean') {
    throw new SchemeError(`scheme.dynamic ${JSON.stringify(dynamic)}: true or false was expected`);
  }
  return scheme({
    format,
    granularity: readGranularity(granularity),
    zeroPoint,
    scaleStorage: readScaleStorage(scaleStorage, scaleStorages),
    dynamic,
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SchemeError(`a scheme that is not valid JSON: ${(error as Error).message}`);
  }
}

const granularities: ReadonlyMap<unknown, (from: any) => Granularity> = new Map<unknown, (from: any) => Granularity>([
  ['tensor', () => perTensor],
  ['channel', () => perChannel],
  ['token', () => perToken],
  ['group', ({ size }) => perGroup(size)],
  ['block', ({ rows, columns }) => perBlock(rows, columns)],
  ['flat', ({ size }) => perFlat(size)],
]);

function readGranularity(from: unknown): Granularity {
  const make = granularities.get((from as { kind?: unknown } | null)?.kind);
  if (make) return make(from);
  throw new SchemeError(
    `scheme.granularity ${JSON.stringify(from)}: kind must be one of ${[...granularities.keys()].join(', ')}`,
  );
}

function readScaleStorage(from: unknown, makers: ScaleStorageMakers): ScaleStorage {
  const { name, ...options } = typeof from === 'string' ? { name: from } : ((from ?? {}) as { name?: unknown });
  const make = typeof name === 'string' ? makers.get(name) : undefined;
  if (make) return make(options);
  throw new SchemeError(`scheme.scaleStorage ${JSON.stringify(from)}: is not one of ${[...makers.keys()].join(', ')}`);
}
