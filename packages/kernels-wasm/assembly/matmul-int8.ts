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

/**
 * `out[m,n] = a b^T` in i32 for rows `[first, last)` of a, both operands widened to i16 rows of `padded` values. Four rows
 * of b at a time share the loads of a.
 */
export function int8Rows(a: usize, b: usize, out: usize, n: usize, padded: usize, first: usize, last: usize, worker: usize): void {
  const bytes = padded * 2;
  for (let row = first; row < last; row++) {
    const x = a + row * bytes;
    let j: usize = 0;
    for (; j + 4 <= n; j += 4) {
      let y = b + j * bytes;
      let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
      for (let p: usize = 0; p < bytes; p += 16) {
        const v = v128.load(x + p);
        s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v, v128.load(y)));
        s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v, v128.load(y + bytes)));
        s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v, v128.load(y + 2 * bytes)));
        s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v, v128.load(y + 3 * bytes)));
        y += 16;
      }
      const to = out + (row * n + j) * 4;
      store<i32>(to, sum(s0));
      store<i32>(to, sum(s1), 4);
      store<i32>(to, sum(s2), 8);
      store<i32>(to, sum(s3), 12);
    }
    for (; j < n; j++) {
      const y = b + j * bytes;
      let s0 = i32x4.splat(0);
      for (let p: usize = 0; p < bytes; p += 16) s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load(x + p), v128.load(y + p)));
      store<i32>(out + (row * n + j) * 4, sum(s0));
    }
  }
}

// @ts-expect-error: decorator
@inline
function sum(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}
