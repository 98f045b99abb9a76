import { subtract64 } from './cholesky';
import { madd, madd64 } from './madd';

/**
 * Solves x T = b for rows. `b` is column-major, `[n][rows]`, so lanes are rows. The driver prepares `t`: row j has the
 * coefficients of the already solved unknowns in the order in which they were solved, then the pivot. `descending`: the
 * last unknown is solved first.
 */
export function solveRows32(
  t: usize,
  n: usize,
  b: usize,
  rows: usize,
  descending: bool,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const stride = rows * 4;
  for (let row = first; row < last; row += 8) {
    for (let step: usize = 0; step < n; step++) {
      const j = descending ? n - 1 - step : step;
      let coefficient = t + step * n * 4;
      let s0 = f32x4.splat(0),
        s1 = s0;
      for (let i: usize = 0; i < step; i++) {
        const at = b + (descending ? n - 1 - i : i) * stride + row * 4;
        const x = v128.load32_splat(coefficient);
        s0 = madd(v128.load(at), x, s0);
        s1 = madd(v128.load(at, 16), x, s1);
        coefficient += 4;
      }
      const pivot = v128.load32_splat(coefficient);
      const at = b + j * stride + row * 4;
      v128.store(at, f32x4.div(f32x4.sub(v128.load(at), s0), pivot));
      v128.store(at, f32x4.div(f32x4.sub(v128.load(at, 16), s1), pivot), 16);
    }
  }
}

/** Unknowns that are solved before the next ones add their contribution. */
const BLOCK: usize = 64;

/**
 * The same in f64, in panels. Unknowns are in the order of solving, their number is padded to a multiple of 8. `b` is
 * `[panel of 8 rows][n][8]`. `t` is `[panel of 8 unknowns][n][8]` with the coefficients of the unknowns solved before,
 * then the pivot, which is 1 for padding. The contribution of earlier blocks is a product. Rows `[first, last)` of
 * panels share the coefficients while these are in the cache.
 */
export function solveRows64(t: usize, n: usize, b: usize, first: usize, last: usize, worker: usize): void {
  for (let start: usize = 0; start < n; start += BLOCK) {
    const end = min(start + BLOCK, n);
    for (let panel = first; panel < last; panel++) {
      const x = b + panel * n * 64;
      for (let j = start; j < end; j += 4) {
        const own = t + ((j >> 3) * n * 8 + (j & 4)) * 8;
        if (start > 0) {
          subtract64(x, own, start, x + j * 64);
          subtract64(x + 32, own, start, x + j * 64 + 32);
        }
      }
      for (let j = start; j < end; j++) {
        const at = x + j * 64;
        let c = t + ((j >> 3) * n * 8 + start * 8 + (j & 7)) * 8;
        let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
        for (let earlier = x + start * 64; earlier < at; earlier += 64) {
          const y = v128.load64_splat(c);
          s0 = madd64(v128.load(earlier), y, s0);
          s1 = madd64(v128.load(earlier, 16), y, s1);
          s2 = madd64(v128.load(earlier, 32), y, s2);
          s3 = madd64(v128.load(earlier, 48), y, s3);
          c += 64;
        }
        const pivot = v128.load64_splat(c);
        v128.store(at, f64x2.div(f64x2.sub(v128.load(at), s0), pivot));
        v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 16), s1), pivot), 16);
        v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 32), s2), pivot), 32);
        v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 48), s3), pivot), 48);
      }
    }
  }
}
