import type { BlockFormat } from '@q/core';
import { blockOf, getF16, getNibble, putF16, putNibbles } from './block-bytes.js';
import { blockwise, meanSquare, weigh } from './blockwise.js';
import { nearestInt } from './nearest-int.js';
import { fitLevels, nearestLevel } from './weighted-levels-fit.js';
import { largestOf, leastMagnitude } from './weighted-scale-fit.js';

const group = 32;
const f = Math.fround;
/** Sixteen levels that are closer together near zero. */
const levels = Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
const weights = new Float32Array(group);

/**
 * The scale of one group: the best of fifteen ranges of the level table, then the least-squares scale for its codes.
 */
function groupScale(x: Float32Array): number {
  const largest = largestOf(x);
  if (Math.abs(largest) < leastMagnitude) return 0;
  let [scale, best] = [0, 0];
  const attempt = (inverse: number, first: boolean) => {
    let [xl, ll] = [0, 0];
    for (let i = 0; i < group; i++) {
      const level = levels[nearestLevel(levels, f(inverse * x[i]))];
      xl = f(xl + f(f(weights[i] * level) * x[i]));
      ll = f(ll + f(f(weights[i] * level) * level));
    }
    if (first ? ll > 0 : ll > 0 && f(xl * xl) > f(best * ll)) {
      scale = f(xl / ll);
      best = f(scale * xl);
    }
  };
  attempt(f(1 / f(-largest / levels[0])), true);
  for (let step = -7; step <= 7; step++) attempt(f((step + levels[0]) / largest), false);
  return scale;
}

function weighGroup(x: Float32Array, columns: Float32Array | undefined, square: number): void {
  if (columns) weigh(x, columns, square, weights);
  else for (let i = 0; i < group; i++) weights[i] = x[i] * x[i];
}

const codes = new Uint8Array(256);

function roundGroup(x: Float32Array, scale: number, to: Uint8Array): void {
  const inverse = scale === 0 ? 0 : f(1 / scale);
  for (let i = 0; i < group; i++) to[i] = nearestLevel(levels, f(inverse * x[i]));
}

const fit = (x: Float32Array, w: Float32Array) => ({ scale: fitLevels(x, w, levels), minimum: 0 });

/** IQ4_NL (ggml-quants.c): 32 values `d levels[code]`. */
export const iq4_NL: BlockFormat = blockwise({
  ...{ name: 'IQ4_NL', values: group, bytes: 18 },
  grid: {
    ...{ group, levels, affine: false, freeScales: true, fit },
    putScales(scales, _, to) {
      const finite = putF16(to, 0, scales[0]);
      scales[0] = getF16(to, 0);
      return finite;
    },
    getScales(from, scales) {
      scales[0] = getF16(from, 0);
    },
    putCodes: (of, to) => putNibbles(of, to, 2),
    getCodes(from, to) {
      for (let i = 0; i < group; i++) to[i] = getNibble(from, 2, i);
    },
  },
  encode(x, to, important) {
    weighGroup(x, important?.columns, important ? f(2 * meanSquare(x)) : 0);
    const scale = groupScale(x);
    roundGroup(x, scale, codes);
    putNibbles(codes, to, 2);
    return putF16(to, 0, scale);
  },
});

const [size, groups, scalesLowAt, codesAt] = [256, 8, 4, 8];
const scales = new Float32Array(groups);
const scaleCodes = new Int8Array(groups);

/** Eight scales of 6 bits, with 32 added: the low halves in four bytes, the upper two bits in a word before them. */
function putScaleCodes(to: Uint8Array): void {
  to.fill(0, 2, codesAt);
  for (let j = 0; j < groups; j++) {
    const code = scaleCodes[j] + 32;
    to[scalesLowAt + (j >> 1)] |= (code & 15) << (4 * (j & 1));
    to[2 + (j >> 2)] |= (code >> 4) << (2 * (j & 3));
  }
}

function getScales(from: Uint8Array, out: Float32Array): void {
  const d = getF16(from, 0);
  for (let j = 0; j < groups; j++) {
    const low = (from[scalesLowAt + (j >> 1)] >> (4 * (j & 1))) & 15;
    const high = (from[2 + (j >> 2)] >> (2 * (j & 3))) & 3;
    out[j] = f(d * (low + 16 * high - 32));
  }
}

/** The largest scale becomes -32. Returns the factor of the others. */
function shareScales(own: Float32Array): number {
  const d = f(-largestOf(own) / 32);
  const inverse = d === 0 ? 0 : f(1 / d);
  for (let j = 0; j < groups; j++) scaleCodes[j] = Math.max(-32, Math.min(31, nearestInt(f(inverse * own[j]))));
  return d;
}

function putCodes(of: Uint8Array, to: Uint8Array): void {
  for (let j = 0; j < groups; j++) putNibbles(blockOf(of, j, group), to, codesAt + 16 * j);
}

/** IQ4_XS (ggml-quants.c): 256 values in eight groups, `d scale levels[code]` with scales of 6 bits. */
export const iq4_XS: BlockFormat = blockwise({
  ...{ name: 'IQ4_XS', values: size, bytes: 136 },
  grid: {
    ...{ group, levels, affine: false, fit, getScales, putCodes },
    putScales(own, _, to) {
      const finite = putF16(to, 0, shareScales(own));
      putScaleCodes(to);
      getScales(to, own);
      return finite;
    },
    getCodes(from, to) {
      for (let j = 0; j < groups; j++)
        for (let i = 0; i < group; i++) to[group * j + i] = getNibble(from, codesAt + 16 * j, i);
    },
  },
  encode(x, to, important) {
    const square = important ? f(2 * meanSquare(x)) : 0;
    for (let j = 0; j < groups; j++) {
      const own = blockOf(x, j, group);
      weighGroup(own, important && blockOf(important.columns, j, group), square);
      scales[j] = groupScale(own);
    }
    const d = shareScales(scales);
    // Codes are found with the f32 scale, not with the stored f16 one.
    for (let j = 0; j < groups; j++) roundGroup(blockOf(x, j, group), f(d * scaleCodes[j]), blockOf(codes, j, group));
    putScaleCodes(to);
    putCodes(codes, to);
    return putF16(to, 0, d);
  },
});
