import { subtract64 } from './cholesky';
import { madd64 } from './madd';

/** Unknowns that are solved before the next ones add their contribution. */
const BLOCK: usize = 64;

/**
 * Solves x T = b for rows in f64, in panels. Unknowns are in the order of solving, their number is padded to a multiple of 8. `b` is
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
