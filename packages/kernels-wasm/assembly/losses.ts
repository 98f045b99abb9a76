import { exp4 } from './exp';

/** The largest of a row of `width` values. */
// @ts-expect-error: decorator
@inline
export function largest(from: usize, width: usize): f32 {
  let highest = load<f32>(from);
  let j: usize = 0;
  if (width >= 4) {
    let h = v128.load(from);
    for (j = 4; j + 4 <= width; j += 4) h = f32x4.max(h, v128.load(from + j * 4));
    highest = max(max(f32x4.extract_lane(h, 0), f32x4.extract_lane(h, 1)), max(f32x4.extract_lane(h, 2), f32x4.extract_lane(h, 3)));
  }
  for (; j < width; j++) highest = max(highest, load<f32>(from + j * 4));
  return highest;
}

/** Writes `e^(x - highest)` of a row to `to`. Returns their sum in f64. */
// @ts-expect-error: decorator
@inline
function exponentials(from: usize, width: usize, highest: f32, to: usize): f64 {
  const shift = f32x4.splat(highest);
  let low = f64x2.splat(0), high = low;
  let j: usize = 0;
  for (; j + 4 <= width; j += 4) {
    const e = exp4(f32x4.sub(v128.load(from + j * 4), shift));
    v128.store(to + j * 4, e);
    low = f64x2.add(low, f64x2.promote_low_f32x4(e));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<i32>(e, e, 2, 3, 2, 3)));
  }
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1) + f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1);
  for (; j < width; j++) {
    const e = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(from + j * 4) - highest)), 0);
    store<f32>(to + j * 4, e);
    sum += e;
  }
  return sum;
}

/**
 * Cross-entropy of rows of logits. Writes `(logSumExp - logit of the target) * weight` to `losses` (f64), and its
 * derivatives to `gradient`. For a target of -1 both are 0.
 */
export function crossEntropyRows(logits: usize, targets: usize, losses: usize, gradient: usize, width: usize, weight: f64, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const from = logits + row * width * 4;
    const to = gradient + row * width * 4;
    const target = load<i32>(targets + row * 4);
    if (target < 0) {
      store<f64>(losses + row * 8, 0);
      memory.fill(to, 0, width * 4);
      continue;
    }
    const highest = largest(from, width);
    const sum = exponentials(from, width, highest, to);
    const chosen = load<f32>(from + <usize>target * 4);
    store<f64>(losses + row * 8, (Math.log(sum) + <f64>highest - <f64>chosen) * weight);
    const factor = <f32>(weight / sum);
    for (let j: usize = 0; j < width; j++) store<f32>(to + j * 4, load<f32>(to + j * 4) * factor);
    const at = to + <usize>target * 4;
    store<f32>(at, load<f32>(at) - <f32>weight);
  }
}

/**
 * Divergence of rows of logits, with p the teacher's probabilities and q the student's. Writes `sum p (t - s) -
 * (logSumExp t - logSumExp s)` times `weight` to `losses` (f64), and the derivatives by s, `(q - p) * weight`, to
 * `gradient`. `scratch`: a row for each worker.
 */
export function divergenceRows(student: usize, teacher: usize, losses: usize, gradient: usize, scratch: usize, width: usize, weight: f64, first: usize, last: usize, worker: usize): void {
  const own = scratch + worker * ((width + 15) & ~15) * 4;
  for (let row = first; row < last; row++) {
    const s = student + row * width * 4;
    const t = teacher + row * width * 4;
    const to = gradient + row * width * 4;
    const highestS = largest(s, width), highestT = largest(t, width);
    const sumS = exponentials(s, width, highestS, to);
    const sumT = exponentials(t, width, highestT, own);
    const factorS = <f32>(weight / sumS), factorT = <f32>(weight / sumT);
    let low = f64x2.splat(0), high = low;
    let j: usize = 0;
    for (; j + 4 <= width; j += 4) {
      const e = v128.load(own + j * 4);
      const each = f32x4.mul(e, f32x4.sub(v128.load(t + j * 4), v128.load(s + j * 4)));
      low = f64x2.add(low, f64x2.promote_low_f32x4(each));
      high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<i32>(each, each, 2, 3, 2, 3)));
      v128.store(to + j * 4, f32x4.sub(f32x4.mul(v128.load(to + j * 4), f32x4.splat(factorS)), f32x4.mul(e, f32x4.splat(factorT))));
    }
    let cross = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1) + f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1);
    for (; j < width; j++) {
      const e = load<f32>(own + j * 4);
      cross += <f64>(e * (load<f32>(t + j * 4) - load<f32>(s + j * 4)));
      store<f32>(to + j * 4, load<f32>(to + j * 4) * factorS - e * factorT);
    }
    const logs = Math.log(sumT) + <f64>highestT - (Math.log(sumS) + <f64>highestS);
    store<f64>(losses + row * 8, (cross / sumT - logs) * weight);
  }
}
