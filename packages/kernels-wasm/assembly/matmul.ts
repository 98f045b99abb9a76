import { madd } from './madd';

// A 4x8 tile: 8 accumulators, 2 vectors of B and 4 splats of A are 14 of the 15 vector registers that V8 allocates on
// x86. V8 moves all loads of a step to its front, so a 6x8 tile keeps three accumulators on the stack: 20 GFLOP/s
// instead of 43 on a Zen 3 core.
export const MR: usize = 4;
export const NR: usize = 8;

/** Depth of a packed block: a panel of B is then 8 kB and stays in the first-level cache. */
export const DEPTH: usize = 256;

// A packed operand is a sequence of blocks of 256 along the depth (the last one is shorter). A block is a sequence of
// panels. A panel has the 4 rows of A or the 8 columns of B next to each other for each step of the depth.

/**
 * Packs panels `[first, last)` of A `[m, k]`. Element (i,p) is at `a + 4*(i*rowStride + p*columnStride)`, one of the
 * strides 1; rows beyond `m` are zero.
 */
export function packA(a: usize, rowStride: usize, columnStride: usize, m: usize, k: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const padded = (m + MR - 1) / MR * MR;
  for (let start: usize = 0; start < k; start += DEPTH) {
    const depth = min(DEPTH, k - start);
    for (let panel = first; panel < last; panel++) {
      const row = panel * MR;
      const to = out + (padded * start + row * depth) * 4;
      packPanel4(a + (row * rowStride + start * columnStride) * 4, rowStride, columnStride, min(MR, m - row), depth, to);
    }
  }
}

/** Packs one panel of `height` rows, at most 4; the missing ones are zero. */
export function packPanel4(a: usize, rowStride: usize, columnStride: usize, height: usize, depth: usize, to: usize): void {
  let p: usize = 0;
  if (height == MR && rowStride == 1) {
    for (; p < depth; p++) {
      v128.store(to, v128.load(a));
      to += 16;
      a += columnStride * 4;
    }
    return;
  }
  if (height == MR && columnStride == 1) {
    for (; p + 4 <= depth; p += 4) {
      turn(a, rowStride * 4, to, 16);
      to += 64;
      a += 16;
    }
  }
  for (; p < depth; p++) {
    for (let i: usize = 0; i < MR; i++) store<f32>(to + i * 4, i < height ? load<f32>(a + i * rowStride * 4) : 0);
    to += 16;
    a += columnStride * 4;
  }
}

/** Packs panels `[first, last)` of B `[k, n]`. Element (p,j) is at `b + 4*(p*rowStride + j*columnStride)`. */
export function packB(b: usize, rowStride: usize, columnStride: usize, n: usize, k: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const padded = (n + NR - 1) / NR * NR;
  for (let start: usize = 0; start < k; start += DEPTH) {
    const depth = min(DEPTH, k - start);
    for (let panel = first; panel < last; panel++) {
      const column = panel * NR;
      const to = out + (padded * start + column * depth) * 4;
      packPanel8(b + (column * columnStride + start * rowStride) * 4, rowStride, columnStride, min(NR, n - column), depth, to);
    }
  }
}

/** Packs one panel of `width` columns, at most 8; the missing ones are zero. */
export function packPanel8(b: usize, rowStride: usize, columnStride: usize, width: usize, depth: usize, to: usize): void {
  let p: usize = 0;
  if (width == NR && columnStride == 1) {
    for (; p < depth; p++) {
      v128.store(to, v128.load(b));
      v128.store(to, v128.load(b, 16), 16);
      to += 32;
      b += rowStride * 4;
    }
    return;
  }
  if (width == NR && rowStride == 1) {
    // The columns are along the depth: squares of 4 are transposed in registers.
    for (; p + 4 <= depth; p += 4) {
      turn(b, columnStride * 4, to, 32);
      turn(b + columnStride * 16, columnStride * 4, to + 16, 32);
      to += 128;
      b += 16;
    }
  }
  for (; p < depth; p++) {
    for (let j: usize = 0; j < NR; j++) store<f32>(to + j * 4, j < width ? load<f32>(b + j * columnStride * 4) : 0);
    to += 32;
    b += rowStride * 4;
  }
}

/** Transposes four rows of four values, `step` bytes apart, to four columns `apart` bytes apart. */
// @ts-expect-error: decorator
@inline
export function turn(from: usize, step: usize, to: usize, apart: usize): void {
  const r0 = v128.load(from), r1 = v128.load(from + step), r2 = v128.load(from + 2 * step), r3 = v128.load(from + 3 * step);
  const a = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), b = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const c = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), d = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f64>(a, c, 0, 2));
  v128.store(to + apart, v128.shuffle<f64>(a, c, 1, 3));
  v128.store(to + 2 * apart, v128.shuffle<f64>(b, d, 0, 2));
  v128.store(to + 3 * apart, v128.shuffle<f64>(b, d, 1, 3));
}

/** Memory for edge tiles, from which the valid part is copied to C. */
const edge: usize = memory.data(128 * 16);

/**
 * Multiplies the panels of 4 rows `[firstPanel, lastPanel)` of a packed A with all of a packed B, into C `[m, n]`. The
 * products are stored, added to C (`accumulate`), or added to the row `bias` (0: none). Sums run over 256 steps of the
 * depth in a register, then over these blocks in C. Each worker has its own edge tile.
 */
export function matmulTile(
  packedA: usize,
  packedB: usize,
  c: usize,
  m: usize,
  n: usize,
  k: usize,
  bias: usize,
  accumulate: bool,
  firstPanel: usize,
  lastPanel: usize,
  worker: usize,
): void {
  const rows = (m + MR - 1) / MR * MR;
  const columns = (n + NR - 1) / NR * NR;
  const own = edge + worker * 128;
  for (let start: usize = 0; start < k; start += DEPTH) {
    const depth = min(DEPTH, k - start);
    const add = accumulate || start > 0;
    for (let column: usize = 0; column < n; column += NR) {
      const b = packedB + (columns * start + column * depth) * 4;
      const from = bias == 0 ? 0 : bias + column * 4;
      for (let ip = firstPanel; ip < lastPanel; ip++) {
        const row = ip * MR;
        const a = packedA + (rows * start + row * depth) * 4;
        const to = c + (row * n + column) * 4;
        if (row + MR <= m && column + NR <= n) {
          micro(a, b, to, n * 4, depth, from, add);
          continue;
        }
        const height = min(MR, m - row);
        const width = min(NR, n - column);
        micro(a, b, own, NR * 4, depth, 0, false);
        for (let i: usize = 0; i < height; i++) {
          for (let j: usize = 0; j < width; j++) {
            const at = to + (i * n + j) * 4;
            let value = load<f32>(own + (i * NR + j) * 4);
            if (add) value += load<f32>(at);
            else if (bias != 0) value += load<f32>(from + j * 4);
            store<f32>(at, value);
          }
        }
      }
    }
  }
}

/** Multiplies four rows of a packed A with eight columns of a packed B. Rows of C are `stride` bytes apart. */
// @ts-expect-error: decorator
@inline
export function micro(a: usize, b: usize, c: usize, stride: usize, depth: usize, bias: usize, accumulate: bool): void {
  microStep(a, MR * 4, b, c, stride, depth, bias, accumulate);
}

/** The same, with four values of A every `step` bytes. */
export function microStep(a: usize, step: usize, b: usize, c: usize, stride: usize, depth: usize, bias: usize, accumulate: bool): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const end = b + depth * 32;
  while (b < end) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    a += step;
    b += 32;
  }
  put(c, c00, c01, bias, accumulate);
  put(c + stride, c10, c11, bias, accumulate);
  put(c + 2 * stride, c20, c21, bias, accumulate);
  put(c + 3 * stride, c30, c31, bias, accumulate);
}

/** Eight values of a row: stored, added to what is there, or added to the row at `bias` (0: none). */
// @ts-expect-error: decorator
@inline
export function put(at: usize, low: v128, high: v128, bias: usize, accumulate: bool): void {
  if (accumulate) {
    low = f32x4.add(low, v128.load(at));
    high = f32x4.add(high, v128.load(at, 16));
  } else if (bias != 0) {
    low = f32x4.add(low, v128.load(bias));
    high = f32x4.add(high, v128.load(bias, 16));
  }
  v128.store(at, low);
  v128.store(at, high, 16);
}
