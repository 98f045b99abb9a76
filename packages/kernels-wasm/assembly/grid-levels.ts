/**
 * Codes of groups `[first, last)` on levels with any distances. It computes `x / scale` in f64 and finds its level by
 * binary search in the `2^steps - 1` thresholds (f64; missing thresholds are infinite). The search has no branch, so
 * the processor searches for several values at a time. A quotient that is nearest to level `zeroIndex` and has its sign
 * bit set gets `negativeZero`. `finite[worker]` becomes NaN if a value is not finite.
 */
export function levelGroups(
  values: usize,
  columns: usize,
  size: usize,
  groups: usize,
  scales: usize,
  thresholds: usize,
  steps: i32,
  levelCodes: usize,
  levels: usize,
  zeroIndex: usize,
  negativeZero: u8,
  codes: usize,
  finite: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  let odd: f32 = 0;
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const start = (g / groups) * columns + left;
    const count = min(size, columns - left);
    const scale = <f64>load<f32>(scales + g * 4);
    for (let i = start; i < start + count; i++) {
      const value = load<f32>(values + i * 4);
      odd += value - value;
      const x = <f64>value / scale;
      let k: usize = 0;
      for (let step: usize = (1 << steps) >> 1; step > 0; step >>= 1)
        k += select<usize>(0, step, x <= load<f64>(thresholds + (k + step - 1) * 8));
      k = min(k, levels - 1);
      const code = load<u8>(levelCodes + k);
      store<u8>(codes + i, select<u8>(negativeZero, code, k == zeroIndex && <i64>reinterpret<u64>(x) < 0));
    }
  }
  const at = finite + worker * 4;
  store<f32>(at, load<f32>(at) + odd);
}
