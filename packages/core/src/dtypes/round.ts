/**
 * Nearest integer, ties to even, as IEEE 754 and `torch.round` do it. `Math.round` rounds ties up, which shifts codes.
 * Exact for every finite f64; NaN and infinities pass through; the sign of zero is kept.
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
