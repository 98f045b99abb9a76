import { madd } from './madd';

// A 6x8 tile: 12 accumulators, 2 vectors of B and one splat of A fill the 16 vector registers of x86.
const MR: usize = 6;
const NR: usize = 8;

/**
 * Packs rows `[first, last)` of panels of A: for each panel of 6 rows, `depth` times 6 values. Element (i,p) of A is at
 * `a + 4*(i*rowStride + p*columnStride)`; rows beyond `m` are zero.
 */
export function packA(a: usize, rowStride: usize, columnStride: usize, m: usize, depth: usize, out: usize, first: usize, last: usize, worker: usize): void {
  for (let panel = first; panel < last; panel++) {
    const row = panel * MR;
    let to = out + panel * MR * depth * 4;
    if (row + MR <= m) {
      const base = a + row * rowStride * 4;
      const step = rowStride * 4;
      for (let p: usize = 0; p < depth; p++) {
        let from = base + p * columnStride * 4;
        for (let i: usize = 0; i < MR; i++) {
          store<f32>(to, load<f32>(from));
          to += 4;
          from += step;
        }
      }
    } else {
      for (let p: usize = 0; p < depth; p++) {
        for (let i: usize = 0; i < MR; i++) {
          store<f32>(to, row + i < m ? load<f32>(a + ((row + i) * rowStride + p * columnStride) * 4) : 0);
          to += 4;
        }
      }
    }
  }
}

/** Packs panels of 8 columns of B, `depth` times 8 values each. Element (p,j) is at `b + 4*(p*rowStride + j*columnStride)`. */
export function packB(b: usize, rowStride: usize, columnStride: usize, n: usize, depth: usize, out: usize, first: usize, last: usize, worker: usize): void {
  for (let panel = first; panel < last; panel++) {
    const column = panel * NR;
    let to = out + panel * NR * depth * 4;
    if (column + NR <= n && columnStride == 1) {
      let from = b + column * 4;
      for (let p: usize = 0; p < depth; p++) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
        to += 32;
        from += rowStride * 4;
      }
    } else {
      for (let p: usize = 0; p < depth; p++) {
        for (let j: usize = 0; j < NR; j++) {
          store<f32>(to, column + j < n ? load<f32>(b + (p * rowStride + (column + j) * columnStride) * 4) : 0);
          to += 4;
        }
      }
    }
  }
}

/** Where an edge tile is computed before its valid part is copied out. */
const edge: usize = memory.data(192 * 16);

/**
 * Rows of A-panels `[firstPanel, lastPanel)` times all of B, added to C (`accumulate`) or stored. `upper`: tiles that lie
 * wholly below the diagonal are left out (Gram matrices). Each worker has an edge tile of its own.
 */
export function matmulTile(
  packedA: usize,
  packedB: usize,
  c: usize,
  m: usize,
  n: usize,
  depth: usize,
  accumulate: bool,
  upper: bool,
  firstPanel: usize,
  lastPanel: usize,
  worker: usize,
): void {
  const columnPanels = (n + NR - 1) / NR;
  const tile = edge + worker * 192;
  for (let jp: usize = 0; jp < columnPanels; jp++) {
    const b = packedB + jp * NR * depth * 4;
    for (let ip = firstPanel; ip < lastPanel; ip++) {
      const row = ip * MR;
      if (upper && (jp + 1) * NR <= row) continue;
      const a = packedA + ip * MR * depth * 4;
      const column = jp * NR;
      if (row + MR <= m && column + NR <= n) {
        micro(a, b, c + (row * n + column) * 4, n * 4, depth, accumulate);
        continue;
      }
      const height = min(MR, m - row);
      const width = min(NR, n - column);
      micro(a, b, tile, NR * 4, depth, false);
      for (let i: usize = 0; i < height; i++) {
        for (let j: usize = 0; j < width; j++) {
          const at = c + ((row + i) * n + column + j) * 4;
          const value = load<f32>(tile + (i * NR + j) * 4);
          store<f32>(at, accumulate ? load<f32>(at) + value : value);
        }
      }
    }
  }
}

// @ts-expect-error: decorator
@inline
function micro(a: usize, b: usize, c: usize, stride: usize, depth: usize, accumulate: bool): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  for (let p: usize = 0; p < depth; p++) {
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
    x = v128.load32_splat(a, 16);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    x = v128.load32_splat(a, 20);
    c50 = madd(x, b0, c50);
    c51 = madd(x, b1, c51);
    a += 24;
    b += 32;
  }
  put(c, c00, c01, accumulate);
  put(c + stride, c10, c11, accumulate);
  put(c + 2 * stride, c20, c21, accumulate);
  put(c + 3 * stride, c30, c31, accumulate);
  put(c + 4 * stride, c40, c41, accumulate);
  put(c + 5 * stride, c50, c51, accumulate);
}

// @ts-expect-error: decorator
@inline
function put(at: usize, low: v128, high: v128, accumulate: bool): void {
  if (accumulate) {
    low = f32x4.add(low, v128.load(at));
    high = f32x4.add(high, v128.load(at, 16));
  }
  v128.store(at, low);
  v128.store(at, high, 16);
}
