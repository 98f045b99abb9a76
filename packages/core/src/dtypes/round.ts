/**
 * Nearest integer, ties to even, as in IEEE 754 and `torch.round`. `Math.round` rounds ties up, which would change
 * codes. Exact for every finite f64. NaN and infinities stay as they are, and so does the sign of zero.
 */
export function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest < 0.5) return below === 0 && x < 0 ? -0 : below;
  if (rest > 0.5) return below + 1 === 0 ? -0 : below + 1;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1 === 0 ? -0 : below + 1;
  return x;
}

/** Nearest integer, ties away from zero, as C's `roundf` (GGUF's Q8_0). */
export function roundHalfAway(x: number): number {
  return x < 0 ? -Math.floor(-x + 0.5) : Math.floor(x + 0.5);
}
