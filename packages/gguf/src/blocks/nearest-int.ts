const value = new Float32Array(1);
const bits = new Int32Array(value.buffer);

/**
 * Nearest integer of an f32, ties to even, as GGUF's reference finds it: the low bits of `x + 1.5 * 2^23`. Beyond 2^22
 * it gives the remaining bits of the sum, and 0 for NaN. Searches clamp the result, and their bytes depend on it there
 * too.
 */
export function nearestInt(x: number): number {
  value[0] = x + 12582912;
  return (bits[0] & 0x7fffff) - 0x400000;
}

/** The same, clamped to `low..high`. */
export function nearestCode(x: number, low: number, high: number): number {
  const code = nearestInt(x);
  return Math.max(low, Math.min(code, high));
}
