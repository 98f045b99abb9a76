import { DEPTH, MR, NR, microStep } from './matmul';

/**
 * Panels of 4 rows that a thread takes at a time: 48 rows of 512 tokens are 98 kB and stay in the second-level cache.
 */
const PANELS: usize = 12;

/** f32 sums of a column of tiles before they are added to the f64 sums, for each of 16 threads. */
const sums: usize = memory.data(16 * 12 * 128);

/**
 * Multiplies the panels of 4 rows `[firstPanel, lastPanel)` of x^T, at most 12, with all of x, and adds the products to
 * the upper triangle of `out` in f64. Rows of `out` are `stride` values apart; its size is whole tiles of 4x8. `packed`
 * is x `[tokens, width]` in panels of 8 columns. Half of such a panel is a panel of 4 rows of x^T. All tokens are
 * summed in f32: 256 of them in a register; then these are summed. Tiles on the diagonal are computed whole.
 */
export function gramTile(
  packed: usize,
  out: usize,
  width: usize,
  stride: usize,
  tokens: usize,
  firstPanel: usize,
  lastPanel: usize,
  worker: usize,
): void {
  const columns = (width + NR - 1) / NR * NR;
  const own = sums + worker * PANELS * 128;
  for (let column = firstPanel * MR / NR * NR; column < width; column += NR) {
    // Panels that are wholly below the diagonal are skipped.
    const last = min(lastPanel, (column + NR) / MR);
    for (let start: usize = 0; start < tokens; start += DEPTH) {
      const depth = min(DEPTH, tokens - start);
      const block = packed + columns * start * 4;
      const b = block + column * depth * 4;
      let to = own;
      for (let panel = firstPanel; panel < last; panel++) {
        const a = block + (panel / 2 * NR * depth + panel % 2 * MR) * 4;
        microStep(a, NR * 4, b, to, NR * 4, depth, 0, start > 0);
        to += 128;
      }
    }
    let from = own;
    let to = out + (firstPanel * MR * stride + column) * 8;
    for (let row = firstPanel * MR; row < last * MR; row++) {
      addWide(from, to);
      addWide(from + 16, to + 32);
      from += 32;
      to += stride * 8;
    }
  }
}

/** Adds four f32 values to four f64 values. */
// @ts-expect-error: decorator
@inline
function addWide(from: usize, to: usize): void {
  const value = v128.load(from);
  const high = v128.shuffle<i32>(value, value, 2, 3, 0, 1);
  v128.store(to, f64x2.add(v128.load(to), f64x2.promote_low_f32x4(value)));
  v128.store(to, f64x2.add(v128.load(to, 16), f64x2.promote_low_f32x4(high)), 16);
}
