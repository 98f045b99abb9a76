// Products use 16-bit lanes: i32x4.dot_i16x8_s is exact, and it is one instruction on x86 (pmaddwd) and two on ARM. The
// relaxed 8-bit dot product takes 7-bit right operands, so a full int8 needs two of them or a change of signs. On x86
// without VNNI that is slower than widening once, and its results may differ between machines.

/** Widens i8 rows `[first, last)` of `columns` values to i16 rows of `padded` (a multiple of 8), zero filled. */
export function widen(from: usize, columns: usize, padded: usize, to: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const source = from + row * columns;
    const target = to + row * padded * 2;
    let i: usize = 0;
    for (; i + 8 <= columns; i += 8) v128.store(target + i * 2, i16x8.extend_low_i8x16_s(v128.load64_zero(source + i)));
    for (; i < padded; i++) store<i16>(target + i * 2, i < columns ? <i16>load<i8>(source + i) : 0);
  }
}

// A tile of 2x4: 8 accumulators, 2 vectors of a, one of b and one product use all registers without a spill. Larger
// tiles need fewer loads and were slower.
const ROWS: usize = 2;
const COLUMNS: usize = 4;

/**
 * `out[m,n] = a b^T` in i32 for rows `[first, last)` of a, both operands widened to i16 rows of `padded` values. Four
 * rows of b stay in the first-level cache while all rows of a are read. Tiles beyond the edge repeat the last row or
 * column, and store the same value again.
 */
export function int8Rows(a: usize, b: usize, out: usize, n: usize, padded: usize, first: usize, last: usize, worker: usize): void {
  const bytes = padded * 2;
  for (let j: usize = 0; j < n; j += COLUMNS) {
    const j1 = min(j + 1, n - 1), j2 = min(j + 2, n - 1), j3 = min(j + 3, n - 1);
    const y0 = b + j * bytes, y1 = b + j1 * bytes, y2 = b + j2 * bytes, y3 = b + j3 * bytes;
    for (let row = first; row < last; row += ROWS) {
      const next = min(row + 1, last - 1);
      const x0 = a + row * bytes, x1 = a + next * bytes;
      let s00 = i32x4.splat(0), s01 = s00, s02 = s00, s03 = s00, s10 = s00, s11 = s00, s12 = s00, s13 = s00;
      for (let p: usize = 0; p < bytes; p += 16) {
        const v0 = v128.load(x0 + p);
        const v1 = v128.load(x1 + p);
        let w = v128.load(y0 + p);
        s00 = i32x4.add(s00, i32x4.dot_i16x8_s(v0, w));
        s10 = i32x4.add(s10, i32x4.dot_i16x8_s(v1, w));
        w = v128.load(y1 + p);
        s01 = i32x4.add(s01, i32x4.dot_i16x8_s(v0, w));
        s11 = i32x4.add(s11, i32x4.dot_i16x8_s(v1, w));
        w = v128.load(y2 + p);
        s02 = i32x4.add(s02, i32x4.dot_i16x8_s(v0, w));
        s12 = i32x4.add(s12, i32x4.dot_i16x8_s(v1, w));
        w = v128.load(y3 + p);
        s03 = i32x4.add(s03, i32x4.dot_i16x8_s(v0, w));
        s13 = i32x4.add(s13, i32x4.dot_i16x8_s(v1, w));
      }
      put(out + row * n * 4, j, j1, j2, j3, s00, s01, s02, s03);
      put(out + next * n * 4, j, j1, j2, j3, s10, s11, s12, s13);
    }
  }
}

// @ts-expect-error: decorator
@inline
function put(row: usize, j0: usize, j1: usize, j2: usize, j3: usize, s0: v128, s1: v128, s2: v128, s3: v128): void {
  store<i32>(row + j0 * 4, sum(s0));
  store<i32>(row + j1 * 4, sum(s1));
  store<i32>(row + j2 * 4, sum(s2));
  store<i32>(row + j3 * 4, sum(s3));
}

// @ts-expect-error: decorator
@inline
function sum(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}
