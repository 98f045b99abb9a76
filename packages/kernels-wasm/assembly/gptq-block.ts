import { madd } from './madd';

/**
 * The sweep over one block for rows `[first, last)` (multiples of 16 but for the end, which the caller pads). Everything
 * is column-major here, `[columns][rows]`, so that 16 rows go side by side: their sums are four independent chains.
 * `factor` is transposed: row j holds R_0j .. R_jj.
 * Linear grid when `levels` is 0: codes are `q - lowest`. Else `levels` sorted values with their `levelCodes`.
 */
export function gptqRows(
  weight: usize,
  feedback: usize,
  factor: usize,
  scales: usize,
  zeros: usize,
  group: usize,
  codes: usize,
  difference: usize,
  loss: usize,
  rows: usize,
  columns: usize,
  lowest: f32,
  highest: f32,
  levels: usize,
  levelValues: usize,
  levelCodes: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const stride = rows * 4;
  for (let row = first; row < last; row += 16) {
    let l0 = f32x4.splat(0), l1 = l0, l2 = l0, l3 = l0;
    for (let j: usize = 0; j < columns; j++) {
      const at = (j * rows + row) * 4;
      let s0 = v128.load(feedback + at), s1 = v128.load(feedback + at, 16);
      let s2 = v128.load(feedback + at, 32), s3 = v128.load(feedback + at, 48);
      let r = factor + j * columns * 4;
      let d = difference + row * 4;
      for (let i: usize = 0; i < j; i++) {
        const x = v128.load32_splat(r);
        s0 = madd(v128.load(d), x, s0);
        s1 = madd(v128.load(d, 16), x, s1);
        s2 = madd(v128.load(d, 32), x, s2);
        s3 = madd(v128.load(d, 48), x, s3);
        r += 4;
        d += stride;
      }
      const pivot = v128.load32_splat(r);
      const g = (<usize>load<i32>(group + j * 4) * rows + row) * 4;
      const q = codes + j * rows + row;
      if (levels == 0) {
        l0 = linear(weight + at, s0, pivot, scales + g, zeros + g, q, difference + at, lowest, highest, l0);
        l1 = linear(weight + at + 16, s1, pivot, scales + g + 16, zeros + g + 16, q + 4, difference + at + 16, lowest, highest, l1);
        l2 = linear(weight + at + 32, s2, pivot, scales + g + 32, zeros + g + 32, q + 8, difference + at + 32, lowest, highest, l2);
        l3 = linear(weight + at + 48, s3, pivot, scales + g + 48, zeros + g + 48, q + 12, difference + at + 48, lowest, highest, l3);
      } else {
        l0 = nearest(weight + at, s0, pivot, scales + g, q, difference + at, levels, levelValues, levelCodes, l0);
        l1 = nearest(weight + at + 16, s1, pivot, scales + g + 16, q + 4, difference + at + 16, levels, levelValues, levelCodes, l1);
        l2 = nearest(weight + at + 32, s2, pivot, scales + g + 32, q + 8, difference + at + 32, levels, levelValues, levelCodes, l2);
        l3 = nearest(weight + at + 48, s3, pivot, scales + g + 48, q + 12, difference + at + 48, levels, levelValues, levelCodes, l3);
      }
    }
    v128.store(loss + row * 4, l0);
    v128.store(loss + row * 4, l1, 16);
    v128.store(loss + row * 4, l2, 32);
    v128.store(loss + row * 4, l3, 48);
  }
}

// @ts-expect-error: decorator
@inline
function linear(w: usize, sum: v128, pivot: v128, scaleAt: usize, zeroAt: usize, codeAt: usize, d: usize, lowest: f32, highest: f32, loss: v128): v128 {
  const weight = v128.load(w);
  const scale = v128.load(scaleAt);
  const zero = v128.load(zeroAt);
  const target = f32x4.add(weight, f32x4.div(sum, pivot));
  let q = f32x4.nearest(f32x4.add(f32x4.div(target, scale), zero));
  q = f32x4.min(f32x4.splat(highest), f32x4.max(f32x4.splat(lowest), q));
  const value = f32x4.mul(f32x4.sub(q, zero), scale);
  const code = i32x4.trunc_sat_f32x4_s(f32x4.sub(q, f32x4.splat(lowest)));
  const narrow = v128.shuffle<u8>(code, code, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  v128.store_lane<u32>(codeAt, narrow, 0);
  v128.store(d, f32x4.sub(weight, value));
  const error = f32x4.mul(f32x4.sub(target, value), pivot);
  return f32x4.add(loss, f32x4.mul(error, error));
}

// @ts-expect-error: decorator
@inline
function nearest(w: usize, sum: v128, pivot: v128, scaleAt: usize, codeAt: usize, d: usize, levels: usize, values: usize, levelCodes: usize, loss: v128): v128 {
  const weight = v128.load(w);
  const scale = v128.load(scaleAt);
  const target = f32x4.add(weight, f32x4.div(sum, pivot));
  // The scaled targets wait where the differences go, which are written only afterwards.
  v128.store(d, f32x4.div(target, scale));
  for (let lane: usize = 0; lane < 4; lane++) {
    const x = load<f32>(d + lane * 4);
    let low: usize = 0;
    let high = levels - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x > (load<f32>(values + middle * 4) + load<f32>(values + middle * 4 + 4)) * 0.5) low = middle + 1;
      else high = middle;
    }
    store<u8>(codeAt + lane, load<u8>(levelCodes + low));
    store<f32>(d + lane * 4, load<f32>(values + low * 4));
  }
  const value = f32x4.mul(v128.load(d), scale);
  v128.store(d, f32x4.sub(weight, value));
  const error = f32x4.mul(f32x4.sub(target, value), pivot);
  return f32x4.add(loss, f32x4.mul(error, error));
}
