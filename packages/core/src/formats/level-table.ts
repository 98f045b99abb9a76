import type { NumberFormat } from '../contracts/number-format.js';

/** The distinct finite values of a format of at most 8 bits in ascending order, and the thresholds between them. */
export interface LevelTable {
  readonly levels: Float64Array;
  /** `x > thresholds[k]` is nearer to `levels[k + 1]` than to `levels[k]`; the format decides ties. */
  readonly thresholds: Float64Array;
  /** Code of each level. */
  readonly codes: Uint8Array;
  /** Index of the level 0, -1 if there is none. */
  readonly zeroIndex: number;
  /** Code of 0 for negative values that round to it. */
  readonly negativeZero: number;
}

const tables = new WeakMap<NumberFormat, LevelTable>();

/** Computed once a format, by `format.encode` and `format.decode` for every code. */
export function levelTable(format: NumberFormat): LevelTable {
  const known = tables.get(format);
  if (known) return known;
  const found = new Set<number>();
  for (let code = 0; code < 2 ** format.bits; code++) {
    // + 0 turns a negative zero into a positive one.
    const level = format.decode(code) + 0;
    if (Number.isFinite(level) && format.decode(format.encode(level)) + 0 === level) found.add(level);
  }
  const levels = Float64Array.from(found).sort();
  const codes = Uint8Array.from(levels, (level) => format.encode(level));
  const thresholds = Float64Array.from({ length: Math.max(0, levels.length - 1) }, (_, k) => {
    const middle = (levels[k] + levels[k + 1]) / 2;
    // The middle itself belongs to the upper or to the lower level: adjust it so that `>` decides.
    return format.decode(format.encode(middle)) + 0 === levels[k + 1] ? below(middle) : middle;
  });
  const zeroIndex = levels.indexOf(0);
  const signed = format.min < 0 && format.family === 'float';
  const negativeZero = signed ? format.encode(-0) : (codes[zeroIndex] ?? 0);
  const table = { levels, thresholds, codes, zeroIndex, negativeZero };
  tables.set(format, table);
  return table;
}

const scratch = new Float64Array(1);
const scratchBits = new BigInt64Array(scratch.buffer);

/** The largest f64 below x. */
function below(x: number): number {
  if (x === 0) return -Number.MIN_VALUE;
  scratch[0] = x;
  scratchBits[0] += x > 0 ? -1n : 1n;
  return scratch[0];
}
