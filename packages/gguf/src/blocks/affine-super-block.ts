import type { BlockFormat } from '@q/core';
import { blockOf, getF16, putF16 } from './block-bytes.js';
import { blockwise, integers, meanSquare, weigh } from './blockwise.js';
import { nearestCode, nearestInt } from './nearest-int.js';
import { putSixBitScales, sixBitMinimum, sixBitScale } from './six-bit-scales.js';
import { getTwoBits, putTwoBits } from './two-bit-planes.js';
import { type AffineSteps, fitAffine, importantSteps } from './weighted-affine-fit.js';
import { fitPositiveScale } from './weighted-scale-fit.js';

const size = 256;
const f = Math.fround;

/** The differences between Q2_K, Q4_K and Q5_K. */
interface Layout {
  readonly name: string;
  readonly bytes: number;
  /** Values of a group. */
  readonly group: number;
  /** Last code of a value, and of a scale or minimum. */
  readonly last: number;
  readonly lastScale: number;
  /** Byte offsets of the f16 scale of scales and of that of minima. */
  readonly scaleAt: number;
  readonly minimumAt: number;
  readonly kernel?: string;
  /** The reference's search steps for scales without importance. */
  readonly steps: AffineSteps;
  /** Whether weights without importance are `rms + |x|`, or `|x|` alone. */
  readonly rmsWeights: boolean;
  /** The addend of x^2 for weights with importance, in mean squares of the block. */
  readonly squares: number;
  putScaleCodes(scales: Uint8Array, minima: Uint8Array, to: Uint8Array): void;
  scaleCode(from: Uint8Array, j: number): number;
  minimumCode(from: Uint8Array, j: number): number;
  putCodes(codes: Uint8Array, to: Uint8Array): void;
  getCodes(from: Uint8Array, codes: Uint8Array): void;
}

/**
 * 256 values in groups, `d scale code - dmin minimum` with scales and minima of a few bits (ggml-quants.c). Each group
 * is fitted by itself, scales and minima are rounded, and codes are rounded again with the stored scales and minima.
 */
function affineSuperBlock(layout: Layout): BlockFormat {
  const { name, bytes, group, last, lastScale, scaleAt, minimumAt, kernel, steps, rmsWeights, squares } = layout;
  const groups = size / group;
  const codes = new Uint8Array(size);
  const scratch = new Uint8Array(group);
  const weights = new Float32Array(group);
  const sums = new Float32Array(groups);
  const [scales, minima] = [new Float32Array(groups), new Float32Array(groups)];
  const [scaleCodes, minimumCodes] = [new Uint8Array(groups), new Uint8Array(groups)];
  const important = importantSteps(last);

  function fit(x: Float32Array, columns: Float32Array | undefined): void {
    const square = columns ? f(squares * meanSquare(x)) : 0;
    for (let j = 0; j < groups; j++) {
      const values = blockOf(x, j, group);
      if (columns) weigh(values, blockOf(columns, j, group), square, weights);
      else {
        const rms = rmsWeights ? f(Math.sqrt(meanSquare(values))) : 0;
        for (let i = 0; i < group; i++) weights[i] = rms + Math.abs(values[i]);
      }
      const { scale, minimum } = fitAffine(values, weights, columns ? important : steps, blockOf(codes, j, group));
      scales[j] = scale;
      minima[j] = minimum;
      sums[j] = weights.reduce((sum, weight) => f(sum + weight), 0);
    }
  }

  /** Rounds scales as shares of the largest one. */
  function roundToLargest(): boolean {
    const [largestScale, largestMinimum] = [scales, minima].map((of) => of.reduce((a, b) => Math.max(a, b), 0));
    const inverseScale = largestScale > 0 ? f(lastScale / largestScale) : 0;
    const inverseMinimum = largestMinimum > 0 ? f(lastScale / largestMinimum) : 0;
    for (let j = 0; j < groups; j++) {
      // A fit's scale may be negative; the reference keeps the low byte of its code.
      scaleCodes[j] = Math.min(lastScale, nearestInt(f(inverseScale * scales[j])) & 255);
      minimumCodes[j] = Math.min(lastScale, nearestInt(f(inverseMinimum * minima[j])) & 255);
    }
    return store(f(largestScale / lastScale), f(largestMinimum / lastScale));
  }

  let target: Uint8Array = new Uint8Array(bytes);
  function store(scale: number, minimum: number): boolean {
    layout.putScaleCodes(scaleCodes, minimumCodes, target);
    return putF16(target, scaleAt, scale) && putF16(target, minimumAt, minimum);
  }

  function getScales(from: Uint8Array, outScales: Float32Array, outMinima: Float32Array): void {
    const [d, m] = [getF16(from, scaleAt), getF16(from, minimumAt)];
    for (let j = 0; j < groups; j++) {
      outScales[j] = f(d * layout.scaleCode(from, j));
      outMinima[j] = f(m * layout.minimumCode(from, j));
    }
  }

  return blockwise({
    ...{ name, values: size, bytes, ...(kernel === undefined ? {} : { kernel }) },
    grid: {
      ...{ group, levels: integers(0, last + 1), affine: true, getScales },
      fit: (x, w) => fitAffine(x, w, important, scratch),
      putScales(ownScales, ownMinima, to) {
        target = to;
        sums.fill(1);
        const d = fitPositiveScale(ownScales, lastScale, scaleCodes, sums);
        const m = fitPositiveScale(ownMinima, lastScale, minimumCodes, sums);
        for (let j = 0; j < groups; j++) if (!(ownScales[j] > 0)) scaleCodes[j] = 0;
        const finite = store(d, m);
        getScales(to, ownScales, ownMinima);
        return finite;
      },
      putCodes: layout.putCodes,
      getCodes: layout.getCodes,
      multiples: {
        ...{ scale: [0, lastScale] as const, minimum: [0, lastScale] as const },
        steps: (from) => ({ scale: getF16(from, scaleAt), minimum: getF16(from, minimumAt) }),
        put: (ownScales, ownMinima, to) =>
          layout.putScaleCodes(Uint8Array.from(ownScales), Uint8Array.from(ownMinima), to),
      },
    },
    encode(x, to, weighted) {
      target = to;
      fit(x, weighted?.columns);
      if (weighted) {
        const d = fitPositiveScale(scales, lastScale, scaleCodes, sums);
        const m = fitPositiveScale(minima, lastScale, minimumCodes, sums);
        if (!store(d, m)) return false;
      } else if (!roundToLargest()) return false;
      getScales(to, scales, minima);
      for (let j = 0; j < groups; j++) {
        const [d, m] = [scales[j], minima[j]];
        // Without a scale the codes of the fit stay.
        if (d === 0) continue;
        for (let i = j * group; i < (j + 1) * group; i++) codes[i] = nearestCode(f(f(x[i] + m) / d), 0, last);
      }
      layout.putCodes(codes, to);
      return true;
    },
  });
}

function sixBitLayout(name: string, bits: 4 | 5, steps: AffineSteps): Layout {
  const codesAt = bits === 4 ? 16 : 48;
  const group = 32;
  return {
    ...{
      name,
      bytes: codesAt + 128,
      group,
      last: steps.last,
      lastScale: 63,
      scaleAt: 0,
      minimumAt: 2,
      kernel: name,
      steps,
    },
    ...{ rmsWeights: true, squares: 2 },
    putScaleCodes: (scales, minima, to) => putSixBitScales(scales, minima, to, 4),
    scaleCode: (from, j) => sixBitScale(from, 4, j),
    minimumCode: (from, j) => sixBitMinimum(from, 4, j),
    putCodes(codes, to) {
      for (let j = 0; j < 8; j += 2)
        for (let i = 0; i < group; i++)
          to[codesAt + j * 16 + i] = (codes[j * group + i] & 15) | ((codes[(j + 1) * group + i] & 15) << 4);
      if (bits === 5) {
        for (let i = 0; i < group; i++) {
          let fifths = 0;
          for (let j = 0; j < 8; j++) fifths |= (codes[j * group + i] >> 4) << j;
          to[16 + i] = fifths;
        }
      }
    },
    getCodes(from, codes) {
      for (let j = 0; j < 8; j++)
        for (let i = 0; i < group; i++) {
          const low = (from[codesAt + (j >> 1) * group + i] >> (4 * (j & 1))) & 15;
          codes[j * group + i] = low + (bits === 5 ? ((from[16 + i] >> j) & 1) << 4 : 0);
        }
    },
  };
}

/** Q2_K: groups of sixteen, scales and minima of 4 bits. */
const fourBitLayout: Layout = {
  ...{ name: 'Q2_K', bytes: 84, group: 16, last: 3, lastScale: 15, scaleAt: 80, minimumAt: 82 },
  steps: { last: 3, first: -0.5, step: 0.1, count: 15, absolute: true },
  ...{ rmsWeights: false, squares: 1 },
  putScaleCodes(scales, minima, to) {
    for (let j = 0; j < 16; j++) to[j] = (scales[j] & 255) | (minima[j] << 4);
  },
  scaleCode: (from, j) => from[j] & 15,
  minimumCode: (from, j) => from[j] >> 4,
  putCodes: (codes, to) => putTwoBits(codes, to, 16),
  getCodes(from, codes) {
    for (let i = 0; i < size; i++) codes[i] = getTwoBits(from, 16, i);
  },
};

export const q2_K: BlockFormat = affineSuperBlock(fourBitLayout);
export const q4_K: BlockFormat = affineSuperBlock(
  sixBitLayout('Q4_K', 4, { last: 15, first: -1, step: 0.1, count: 20 }),
);
export const q5_K: BlockFormat = affineSuperBlock(
  sixBitLayout('Q5_K', 5, { last: 31, first: -0.5, step: 0.1, count: 15 }),
);
