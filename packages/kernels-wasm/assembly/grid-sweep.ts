// The search of core's weightedSearch on grids of integers. Core moves each value from level to level, one step at a
// time. This search computes four steps of a value at once in f32, and again in f64 if f32 cannot decide between two
// candidates. The sums are core's, in f64.

/** 2^23: the low bits of an f32 below it are an integer once it is added. */
const MAGIC: f32 = 8388608;
/** Levels of a format, and the empty steps that end a table. */
const LEVELS: usize = 256 + 8;

// A thread's buffer, in order: the result (scale, gain); two sums for each of `points + 1` candidates, the last of
// which collects steps beyond the candidates; for each level the amounts (l, l^2) that a value on it adds to these
// sums, from the lowest level; then two tables of steps towards zero, from the lowest level up and from the highest one
// down: threshold, the amounts that the step adds to the sums, and candidates per unit of value in f32. Then the four
// current values: level number, table entry, steps. At the end the candidates' gains.
// @ts-expect-error: decorator
@inline
function levelsAt(points: usize): usize {
  return 16 + (points + 1) * 16;
}

const STEPS: usize = LEVELS * 28;

/** Bytes of a thread's buffer, for formats of up to 256 levels. */
export function sweepBytes(points: usize): usize {
  return levelsAt(points) + LEVELS * 16 + 2 * STEPS + 48 + (points + 1) * 8 + 8;
}

/** Writes the tables for levels shifted by `zero`. */
function shift(scratch: usize, points: usize, thresholds: usize, lowest: f64, highest: f64, zero: f64, perUnit: f64): void {
  const levels = scratch + levelsAt(points);
  const count = <usize>(highest - lowest);
  for (let k: usize = 0; k <= count; k++) {
    const level = lowest + <f64>k - zero;
    store<f64>(levels + k * 16, level);
    store<f64>(levels + k * 16, level * level, 8);
  }
  const below = <usize>(zero - lowest);
  for (let side: usize = 0; side < 2; side++) {
    const table = levels + LEVELS * 16 + side * STEPS;
    const inside = side == 0 ? below : count - below;
    for (let i: usize = 0; i < inside + 8; i++) {
      const c = side == 0 ? i : count - 1 - i;
      const threshold = i < inside ? load<f64>(thresholds + c * 8) - zero : side == 0 ? -1e-9 : 1e-9;
      const level = lowest + <f64>c - zero;
      const grows = (level + 1) * (level + 1) - level * level;
      store<f64>(table + i * 8, threshold);
      const growth = table + LEVELS * 8 + i * 16;
      store<f64>(growth, i >= inside ? 0 : side == 0 ? 1 : -1);
      store<f64>(growth, i >= inside ? 0 : side == 0 ? grows : -grows, 8);
      store<f32>(table + LEVELS * 24 + i * 4, <f32>(perUnit / threshold));
    }
  }
}

/** Whether units and shares of units of these magnitudes are normal in f32. */
// @ts-expect-error: decorator
@inline
function holds(start: f64): bool {
  return abs(start) > 1e-30 && abs(start) < 1e30;
}

/**
 * Least-squares scale and gain of the best candidate near `start`, on levels shifted by `zero`. Written to the start of
 * `scratch`.
 */
function sweep(from: usize, count: usize, importance: usize, start: f64, zero: f64, lowest: f64, highest: f64, points: usize, low: f64, high: f64, scratch: usize): void {
  const sums = scratch + 16;
  const levels = scratch + levelsAt(points);
  const tables = levels + LEVELS * 16;
  const places = tables + 2 * STEPS;
  memory.fill(sums, 0, (points + 1) * 16);
  const perUnit = <f64>(points - 1) / (high - low);
  const toUnits = 1 / start;
  const units = f32x4.splat(<f32>toUnits);
  // Slightly beyond the candidates on both sides, by more than the error of f32. A level that is too far out then
  // counts in the first candidate; a step too many is no step.
  const outer = f32x4.splat(<f32>(1.000002 / low)), inner = f32x4.splat(<f32>(0.999998 / high));
  const bottom = f32x4.splat(<f32>(lowest - zero)), top = f32x4.splat(<f32>(highest - zero));
  const lowUnits = f32x4.splat(<f32>(low * perUnit));
  const least = f32x4.splat(-0.5), beyond = f32x4.splat(<f32>points - 0.5);
  const doubt = f32x4.splat(<f32>(high * perUnit * 6e-7));
  const magic = f32x4.splat(MAGIC);
  let begun = f64x2.splat(0);
  for (let block: usize = 0; block < count; block += 4) {
    const u4 = f32x4.mul(v128.load(from + block * 4), units);
    const level4 = f32x4.pmin(top, f32x4.pmax(bottom, f32x4.nearest(f32x4.mul(u4, outer))));
    const last4 = f32x4.pmin(top, f32x4.pmax(bottom, f32x4.nearest(f32x4.mul(u4, inner))));
    const mask = i32x4.splat(0x7fffff);
    const number = v128.and(f32x4.add(f32x4.sub(level4, bottom), magic), mask);
    const fromTop = v128.and(f32x4.add(f32x4.sub(top, level4), magic), mask);
    const negative = i32x4.shr_s(u4, 31);
    // Bytes to the value's first threshold: the table of its sign, then 8 for each step before it.
    const downwards = i32x4.add(i32x4.shl(fromTop, 3), i32x4.splat(<i32>STEPS));
    v128.store(places, i32x4.shl(number, 4));
    v128.store(places, v128.bitselect(i32x4.shl(number, 3), downwards, negative), 16);
    v128.store(places, v128.and(f32x4.add(f32x4.abs(f32x4.sub(level4, last4)), magic), mask), 32);
    const lanes = min(<usize>4, count - block);
    for (let lane: usize = 0; lane < lanes; lane++) {
      const x = <f64>load<f32>(from + (block + lane) * 4);
      const weight: f64 = importance ? <f64>load<f32>(importance + (block + lane) * 4) : 1;
      const weights = f64x2.replace_lane(f64x2.splat(weight), 0, weight * x);
      begun = f64x2.add(begun, f64x2.mul(weights, v128.load(levels + <usize>load<i32>(places + lane * 4))));
      const place = <usize>load<i32>(places + lane * 4, 16);
      const side = place >= STEPS ? STEPS : 0;
      const at = place - side;
      const u = f32x4.mul(v128.load32_splat(from + (block + lane) * 4), units);
      let growth = tables + side + LEVELS * 8 + at * 2;
      let share = tables + side + LEVELS * 24 + (at >> 1);
      let thresholds = tables + place;
      let left = load<i32>(places + lane * 4, 32);
      do {
        let bin = f32x4.sub(f32x4.mul(u, v128.load(share)), lowUnits);
        bin = f32x4.pmin(beyond, f32x4.pmax(least, bin));
        const doubtful = f32x4.lt(f32x4.abs(f32x4.sub(bin, f32x4.nearest(bin))), doubt);
        let index = i32x4.shl(v128.and(f32x4.add(f32x4.ceil(bin), magic), mask), 4);
        if (v128.any_true(doubtful)) index = exactly(x * toUnits, thresholds, points, low, high, perUnit);
        const a = sums + <usize>i32x4.extract_lane(index, 0);
        v128.store(a, f64x2.add(v128.load(a), f64x2.mul(weights, v128.load(growth))));
        const b = sums + <usize>i32x4.extract_lane(index, 1);
        v128.store(b, f64x2.add(v128.load(b), f64x2.mul(weights, v128.load(growth, 16))));
        const c = sums + <usize>i32x4.extract_lane(index, 2);
        v128.store(c, f64x2.add(v128.load(c), f64x2.mul(weights, v128.load(growth, 32))));
        const d = sums + <usize>i32x4.extract_lane(index, 3);
        v128.store(d, f64x2.add(v128.load(d), f64x2.mul(weights, v128.load(growth, 48))));
        growth += 64;
        share += 16;
        thresholds += 32;
        left -= 4;
      } while (left > 0);
    }
  }
  choose(scratch, begun, points);
}

/**
 * Adds up the sums and writes scale and gain of the best candidate, in core's order of comparison. Only candidates
 * within 1e-12 of the largest gain are compared one by one.
 */
function choose(scratch: usize, begun: v128, points: usize): void {
  const sums = scratch + 16;
  const gains = scratch + levelsAt(points) + LEVELS * 16 + 2 * STEPS + 48;
  const smallest = f64x2.splat(1e-300);
  let sum = begun;
  let most = f64x2.splat(0);
  for (let i: usize = 0; i < points; i += 2) {
    const next = f64x2.add(sum, v128.load(sums + i * 16));
    // If the number of candidates is odd, the sum beyond them is read too; its gain is ignored below.
    sum = f64x2.add(next, v128.load(sums + i * 16, 16));
    v128.store(sums + i * 16, next);
    v128.store(sums + i * 16, sum, 16);
    const product = v128.shuffle<f64>(next, sum, 0, 2), square = v128.shuffle<f64>(next, sum, 1, 3);
    // Rounding residues of sums that cancel must not count as a square.
    let gain = v128.and(f64x2.div(f64x2.mul(product, product), square), f64x2.gt(square, smallest));
    if (i + 1 == points) gain = f64x2.replace_lane(gain, 1, 0);
    most = f64x2.pmax(most, gain);
    v128.store(gains + i * 8, gain);
  }
  const near = f64x2.splat(max(f64x2.extract_lane(most, 0), f64x2.extract_lane(most, 1)) * (1 - 1e-12));
  let best: f64 = 0;
  let scale: f64 = 0;
  for (let i: usize = 0; i < points; i += 2) {
    if (!v128.any_true(f64x2.ge(v128.load(gains + i * 8), near))) continue;
    for (let at = i; at < min(points, i + 2); at++) {
      const product = load<f64>(sums + at * 16), square = load<f64>(sums + at * 16, 8);
      if (square > 1e-300 && product * product > best * square) {
        best = (product * product) / square;
        scale = product / square;
      }
    }
  }
  store<f64>(scratch, scale);
  store<f64>(scratch, best, 8);
}

/** Sixteen times the candidates from which on four steps apply, as core finds them. */
function exactly(u: f64, thresholds: usize, points: usize, low: f64, high: f64, perUnit: f64): v128 {
  let index = i32x4.splat(0);
  for (let lane: usize = 0; lane < 4; lane++) {
    const share = u / load<f64>(thresholds + lane * 8);
    let bin: i32 = 0;
    if (share >= high) bin = <i32>points;
    else if (share > low) bin = <i32>ceil((share - low) * perUnit);
    if (lane == 0) index = i32x4.replace_lane(index, 0, bin);
    else if (lane == 1) index = i32x4.replace_lane(index, 1, bin);
    else if (lane == 2) index = i32x4.replace_lane(index, 2, bin);
    else index = i32x4.replace_lane(index, 3, bin);
  }
  return i32x4.shl(index, 4);
}

/**
 * Scales (f64) and zero points of groups `[first, last)`. `mode` 0 maps the value of largest magnitude to `lowest` and
 * to `highest`, and takes the better scale. Mode 1 maps its magnitude to `highest`. Mode 2 searches integer zero points
 * from `lowest` to `highest`, from the range's own zero point in the direction of smaller error. A scale is NaN if f32
 * cannot compute with the magnitudes. `scratch`: memory for every thread ({@link sweepBytes}).
 */
export function sweepGroups(
  values: usize,
  columns: usize,
  size: usize,
  groups: usize,
  importance: usize,
  thresholds: usize,
  lowest: f64,
  highest: f64,
  points: usize,
  low: f64,
  high: f64,
  mode: i32,
  scratch: usize,
  scales: usize,
  zeros: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  scratch += worker * sweepBytes(points);
  if (mode != 2) shift(scratch, points, thresholds, lowest, highest, 0, <f64>(points - 1) / (high - low));
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const from = values + ((g / groups) * columns + left) * 4;
    const width = min(size, columns - left);
    const weights = importance ? importance + left * 4 : 0;
    const scaleAt = scales + g * 8, zeroAt = zeros + g * 4;
    if (mode == 2) {
      searchZero(from, width, weights, thresholds, lowest, highest, points, low, high, scratch, scaleAt, zeroAt);
      continue;
    }
    let peak: f32 = 0;
    for (let j: usize = 0; j < width; j++) {
      const x = load<f32>(from + j * 4);
      if (abs(x) > abs(peak)) peak = x;
    }
    store<f32>(zeroAt, 0);
    if (peak == 0) {
      store<f64>(scaleAt, 0);
      continue;
    }
    const start = mode == 0 ? <f64>peak / lowest : abs(<f64>peak) / highest;
    if (!holds(start)) {
      store<f64>(scaleAt, NaN);
      continue;
    }
    sweep(from, width, weights, start, 0, lowest, highest, points, low, high, scratch);
    let scale = load<f64>(scratch);
    if (mode == 0) {
      const gain = load<f64>(scratch, 8);
      sweep(from, width, weights, <f64>peak / highest, 0, lowest, highest, points, low, high, scratch);
      if (load<f64>(scratch, 8) > gain) scale = load<f64>(scratch);
    }
    store<f64>(scaleAt, scale == 0 ? start : scale);
  }
}

/** The smallest scale for which both ends of a range fit on levels counted from `zero`. */
// @ts-expect-error: decorator
@inline
function holding(bottom: f64, top: f64, lowest: f64, highest: f64, zero: f64): f64 {
  return max(zero < highest ? top / (highest - zero) : 0, zero > lowest ? bottom / (lowest - zero) : 0);
}

function searchZero(from: usize, width: usize, weights: usize, thresholds: usize, lowest: f64, highest: f64, points: usize, low: f64, high: f64, scratch: usize, scaleAt: usize, zeroAt: usize): void {
  let bottom: f64 = 0, top: f64 = 0;
  for (let j: usize = 0; j < width; j++) {
    const x = <f64>load<f32>(from + j * 4);
    if (x < bottom) bottom = x;
    else if (x > top) top = x;
  }
  if (bottom == top) {
    store<f64>(scaleAt, 0);
    store<f32>(zeroAt, <f32>lowest);
    return;
  }
  const perUnit = <f64>(points - 1) / (high - low);
  const stride = max<f64>(1, (highest - lowest + 1) / 16);
  let chosen = min(highest, max(lowest, nearest(lowest - (bottom * (highest - lowest)) / (top - bottom))));
  let start = holding(bottom, top, lowest, highest, chosen);
  if (!holds(start)) {
    store<f64>(scaleAt, NaN);
    store<f32>(zeroAt, 0);
    return;
  }
  shift(scratch, points, thresholds, lowest, highest, chosen, perUnit);
  sweep(from, width, weights, start, chosen, lowest, highest, points, low, high, scratch);
  let scale = load<f64>(scratch), gain = load<f64>(scratch, 8);
  if (scale == 0) scale = start;
  for (let side = 0; side < 2; side++) {
    const direction = side == 0 ? -stride : stride;
    const origin = chosen;
    for (;;) {
      const next = min(highest, max(lowest, chosen + direction));
      if (next == chosen) break;
      start = holding(bottom, top, lowest, highest, next);
      shift(scratch, points, thresholds, lowest, highest, next, perUnit);
      sweep(from, width, weights, start, next, lowest, highest, points, low, high, scratch);
      if (load<f64>(scratch, 8) <= gain) break;
      chosen = next;
      scale = load<f64>(scratch);
      gain = load<f64>(scratch, 8);
      if (scale == 0) scale = start;
    }
    if (chosen != origin) break;
  }
  store<f64>(scaleAt, scale);
  store<f32>(zeroAt, <f32>chosen);
}
