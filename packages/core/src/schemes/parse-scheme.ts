import { SchemeError } from '../contracts/errors.js';
import type { Granularity } from '../contracts/granularity.js';
import type { ScaleStorage, Scheme } from '../contracts/scheme.js';
import { builtinFormats } from '../formats/builtin.js';
import { closest } from '../options/closest.js';
import { perBlock, perChannel, perFlat, perGroup, perTensor, perToken } from './granularity.js';
import { type NamedScheme, namedSchemes } from './named-schemes.js';
import { f16Scale, f32Scale } from './scale-storage.js';
import { scheme } from './scheme.js';
import { builtinScaleStorages, type SchemeVocabulary, schemeFromJSON } from './scheme-json.js';

export interface SchemeNames extends SchemeVocabulary {
  /** Schemes with one-word names. Default {@link namedSchemes}. */
  readonly schemes?: readonly NamedScheme[];
}

type Word = {
  granularity?: Granularity;
  zeroPoint?: Scheme['zeroPoint'];
  scaleStorage?: ScaleStorage;
  dynamic?: boolean;
};

const granularityWords: readonly [RegExp, (numbers: readonly number[]) => Granularity][] = [
  [/^g(\d+)$/, ([size]) => perGroup(size)],
  [/^flat ?(\d+)$/, ([size]) => perFlat(size)],
  [/^block ?(\d+)x(\d+)$/, ([rows, columns]) => perBlock(rows, columns)],
  [/^per (?:channel|row)$/, () => perChannel],
  [/^per tensor$/, () => perTensor],
  [/^per token$/, () => perToken],
];

const zeroWords: ReadonlyMap<string, Scheme['zeroPoint']> = new Map([
  ['sym', 'none'],
  ['asym', 'integer'],
  ['asym float zero', 'float'],
]);

/**
 * A scheme from words: a named one (`nf4`, `fp8-row`), or a number format and changes to its defaults, in the words of
 * `describeScheme`: `int3 g64`, `uint4 g32 asym, f32 scales`, `e4m3 block 128x128`, `nf4 flat 64`. Unsigned integers
 * have integer zero points unless the words say otherwise. Scales are f16 for integers and f32 for other formats. An
 * object is read as the JSON of a scheme.
 * @throws SchemeError naming the unknown word, with the nearest known one
 */
export function parseScheme(from: unknown, names: SchemeNames = {}): Scheme {
  if (typeof from !== 'string') return schemeFromJSON(from, names);
  const { schemes: known = namedSchemes, formats = builtinFormats } = names;
  const [first = '', ...rest] = from.trim().split(/[\s,]+/);
  const found = known.find(({ name }) => name === first);
  const format = found?.scheme.format ?? formats.find(({ name }) => name === first);
  if (!format) {
    const named = new Set(known.map(({ name }) => name));
    // Several names are both: `int4` is a scheme, and the format of `int4 g64`. They are listed once, as schemes.
    const others = new Set(formats.map(({ name }) => name).filter((name) => !named.has(name)));
    const slip = closest(first, [...named, ...others]);
    throw new SchemeError(
      `${JSON.stringify(from)}: ${JSON.stringify(first)} is neither a scheme nor a number format${slip ? `; did you mean ${slip}?` : '.'} Schemes: ${[...named].join(', ')}. Other number formats, as in "int3 g64": ${[...others].join(', ')}`,
    );
  }
  const words = readWords(from, rest.join(' '), names);
  // One word that names a scheme is that scheme; with a granularity after it, it gives only its format.
  if (found && words.granularity === undefined) return scheme({ ...found.scheme, ...words });
  const whole = format.family === 'linear';
  return scheme({
    format,
    granularity: perChannel,
    zeroPoint: whole && format.min >= 0 ? 'integer' : 'none',
    scaleStorage: whole ? f16Scale : f32Scale,
    ...words,
  });
}

/** Granularity, zero point and scale storage from the words after the format, longest words first. */
function readWords(from: string, text: string, { scaleStorages = builtinScaleStorages }: SchemeNames): Word {
  const out: Word = {};
  let left = text.split(' ').filter(Boolean);
  while (left.length > 0) {
    const taken = [3, 2, 1].find((count) => {
      if (count > left.length) return false;
      const part = left.slice(0, count).join(' ');
      for (const [pattern, make] of granularityWords) {
        const match = pattern.exec(part);
        if (!match) continue;
        out.granularity = make(match.slice(1).map(Number));
        return true;
      }
      const makeStorage = scaleStorages.get(/^(\S+) scales$/.exec(part)?.[1] ?? '');
      if (makeStorage) {
        out.scaleStorage = makeStorage({});
        return true;
      }
      if (part === 'dynamic') {
        out.dynamic = true;
        return true;
      }
      const zeroPoint = zeroWords.get(part);
      if (zeroPoint === undefined) return false;
      out.zeroPoint = zeroPoint;
      return true;
    });
    if (taken === undefined)
      throw new SchemeError(
        `${JSON.stringify(from)}: ${JSON.stringify(left[0])} is not known. After the format come a granularity (g64, flat 64, block 128x128, per channel, per tensor), sym, asym or asym float zero, and a storage of scales (${[...scaleStorages.keys()].join(' scales, ')} scales)`,
      );
    left = left.slice(taken);
  }
  return out;
}
