import { type BlockFormat, type BlockGrid, roundHalfAway } from '@q/core';
import { getF16, putF16 } from './block-bytes.js';
import { blockwise, integers } from './blockwise.js';
import { fitLevels } from './weighted-levels-fit.js';

const size = 256;
const f = Math.fround;
const levels = integers(-1, 3);

type CodeBytes = Pick<BlockGrid, 'putCodes' | 'getCodes'>;

/** 256 values -d, 0 or d (ggml-quants.c); d is the largest magnitude. */
function ternaryBlock(name: string, bytes: number, { putCodes, getCodes }: CodeBytes): BlockFormat {
  const scaleAt = bytes - 2;
  const codes = new Uint8Array(size);
  return blockwise({
    ...{ name, values: size, bytes },
    grid: {
      ...{ group: size, levels, affine: false, freeScales: true, putCodes, getCodes },
      fit: (x, weights) => ({ scale: fitLevels(x, weights, levels, shares), minimum: 0 }),
      putScales(scales, _, to) {
        const finite = putF16(to, scaleAt, scales[0]);
        scales[0] = getF16(to, scaleAt);
        return finite;
      },
      getScales(from, scales) {
        scales[0] = getF16(from, scaleAt);
      },
    },
    encode(x, to) {
      const d = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const inverse = d === 0 ? 0 : f(1 / d);
      for (let i = 0; i < size; i++) codes[i] = 1 + (Number.isFinite(inverse) ? roundHalfAway(f(x[i] * inverse)) : 0);
      putCodes(codes, to);
      return putF16(to, scaleAt, d);
    },
  });
}

/** The best range for weights that are not ternary is much smaller than their largest magnitude. */
const shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/** Five codes in a byte, the first one the most significant: their number times 256 / 243, rounded up. */
const packTrits = (trits: readonly number[]): number =>
  Math.ceil((256 * trits.reduce((number, trit) => 3 * number + trit, 0)) / 243) & 255;
const getTrit = (byte: number, place: number): number => (((byte * 3 ** place) & 255) * 3) >> 8;

/** First value, distance, and count of the codes in each byte of TQ1_0. */
const tritPlaces: readonly (readonly [first: number, distance: number, count: number])[] = [
  ...Array.from({ length: 32 }, (_, m) => [m, 32, 5] as const),
  ...Array.from({ length: 16 }, (_, m) => [160 + m, 16, 5] as const),
  ...Array.from({ length: 4 }, (_, m) => [240 + m, 4, 4] as const),
];

export const tq1_0: BlockFormat = ternaryBlock('TQ1_0', 54, {
  putCodes(codes, to) {
    for (const [at, [first, distance, count]] of tritPlaces.entries())
      to[at] = packTrits(Array.from({ length: 5 }, (_, n) => (n < count ? codes[first + n * distance] : 0)));
  },
  getCodes(from, codes) {
    for (const [at, [first, distance, count]] of tritPlaces.entries())
      for (let n = 0; n < count; n++) codes[first + n * distance] = getTrit(from[at], n);
  },
});

export const tq2_0: BlockFormat = ternaryBlock('TQ2_0', 66, {
  putCodes(codes, to) {
    to.fill(0, 0, 64);
    for (let i = 0; i < size; i++) to[32 * (i >> 7) + (i & 31)] |= codes[i] << (2 * ((i >> 5) & 3));
  },
  getCodes(from, codes) {
    for (let i = 0; i < size; i++) codes[i] = (from[32 * (i >> 7) + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
  },
});
