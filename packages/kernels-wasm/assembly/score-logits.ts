import { exp4 } from './exp';
import { largest } from './losses';

/** Index of the first entry of a row that equals `value`; 0 if there is none, as for a row of NaN. */
// @ts-expect-error: decorator
@inline
function placeOf(from: usize, width: usize, value: f32): i32 {
  const wanted = f32x4.splat(value);
  let j: usize = 0;
  for (; j + 4 <= width; j += 4) {
    if (!v128.any_true(f32x4.eq(v128.load(from + j * 4), wanted))) continue;
    for (let i = j; ; i++) if (load<f32>(from + i * 4) == value) return <i32>i;
  }
  for (; j < width; j++) if (load<f32>(from + j * 4) == value) return <i32>j;
  return 0;
}

// @ts-expect-error: decorator
@inline
function sumOf(low: v128, high: v128): f64 {
  return f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1) + f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1);
}

// @ts-expect-error: decorator
@inline
function upperHalf(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3));
}

/**
 * Writes five f64 values for each row of logits: the log of the sum of its exponentials and the index of the largest
 * logit; the same two of the original; and `KL(original || model) = sum p (t - s) - (logSumExp t - logSumExp s)`.
 * Without an original (0) the last three are not written. Exponentials are f32, all sums are f64.
 */
export function scoreRows(model: usize, original: usize, scores: usize, width: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const s = model + row * width * 4;
    const t = original == 0 ? s : original + row * width * 4;
    const to = scores + row * 40;
    const highestS = largest(s, width), highestT = original == 0 ? highestS : largest(t, width);
    const shiftS = f32x4.splat(highestS), shiftT = f32x4.splat(highestT);
    let lowS = f64x2.splat(0), highS = lowS, lowT = lowS, highT = lowS, lowC = lowS, highC = lowS;
    let j: usize = 0;
    for (; j + 4 <= width; j += 4) {
      const x = v128.load(s + j * 4);
      const e = exp4(f32x4.sub(x, shiftS));
      lowS = f64x2.add(lowS, f64x2.promote_low_f32x4(e));
      highS = f64x2.add(highS, upperHalf(e));
      if (original == 0) continue;
      const y = v128.load(t + j * 4);
      const p = exp4(f32x4.sub(y, shiftT));
      lowT = f64x2.add(lowT, f64x2.promote_low_f32x4(p));
      highT = f64x2.add(highT, upperHalf(p));
      const each = f32x4.mul(p, f32x4.sub(y, x));
      lowC = f64x2.add(lowC, f64x2.promote_low_f32x4(each));
      highC = f64x2.add(highC, upperHalf(each));
    }
    let sumS = sumOf(lowS, highS), sumT = sumOf(lowT, highT), cross = sumOf(lowC, highC);
    for (; j < width; j++) {
      const x = load<f32>(s + j * 4), y = load<f32>(t + j * 4);
      sumS += f32x4.extract_lane(exp4(f32x4.splat(x - highestS)), 0);
      const p = f32x4.extract_lane(exp4(f32x4.splat(y - highestT)), 0);
      sumT += p;
      cross += <f64>(p * (y - x));
    }
    const logS = Math.log(sumS) + <f64>highestS;
    store<f64>(to, logS);
    store<f64>(to + 8, <f64>placeOf(s, width, highestS));
    if (original == 0) continue;
    const logT = Math.log(sumT) + <f64>highestT;
    store<f64>(to + 16, logT);
    store<f64>(to + 24, <f64>placeOf(t, width, highestT));
    store<f64>(to + 32, cross / sumT - (logT - logS));
  }
}
