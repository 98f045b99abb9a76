import { fromF16 } from './half';
import { madd } from './madd';
import { DEPTH, micro, MR, put } from './matmul';

// A matrix of 16-bit patterns is in panels of 32 outputs: for each input 16 words, so that a product reads memory in
// order. Four words are 8 outputs, the first 4 of them in the low halves: one instruction makes 4 values of bf16 from
// them.

/** Bytes of a panel's patterns for one input. */
const INPUT: usize = 64;
/** Outputs of a panel. */
const WIDTH: usize = 32;

/** The values in the low halves of four words. */
// @ts-expect-error: decorator
@inline
function low(words: v128, short: bool): v128 {
  return short ? fromF16(v128.and(words, i32x4.splat(0xffff))) : i32x4.shl(words, 16);
}

/** The values in the high halves of four words. */
// @ts-expect-error: decorator
@inline
function high(words: v128, short: bool): v128 {
  return short ? fromF16(i32x4.shr_u(words, 16)) : v128.and(words, i32x4.splat(0xffff0000));
}

/**
 * A panel times one token. A product waits for the one before it in the same sum: the 8 sums of a panel fill that time.
 * Sums run over 256 inputs in a register, then over these blocks in `y`, as in `matmulTile`: results are the bits of
 * that product.
 */
// @ts-expect-error: decorator
@inline
function panelVector(x: usize, words: usize, k: usize, bias: usize, y: usize, short: bool): void {
  for (let start: usize = 0; start < k; start += DEPTH) {
    let a0 = f32x4.splat(0), b0 = a0, a1 = a0, b1 = a0, a2 = a0, b2 = a0, a3 = a0, b3 = a0;
    for (const end = x + min(DEPTH, k - start) * 4; x < end; x += 4) {
      const value = v128.load32_splat(x);
      let w = v128.load(words);
      a0 = madd(value, low(w, short), a0);
      b0 = madd(value, high(w, short), b0);
      w = v128.load(words, 16);
      a1 = madd(value, low(w, short), a1);
      b1 = madd(value, high(w, short), b1);
      w = v128.load(words, 32);
      a2 = madd(value, low(w, short), a2);
      b2 = madd(value, high(w, short), b2);
      w = v128.load(words, 48);
      a3 = madd(value, low(w, short), a3);
      b3 = madd(value, high(w, short), b3);
      words += INPUT;
    }
    const add = start > 0;
    put(y, a0, b0, bias, add);
    put(y + 32, a1, b1, bias == 0 ? 0 : bias + 32, add);
    put(y + 64, a2, b2, bias == 0 ? 0 : bias + 64, add);
    put(y + 96, a3, b3, bias == 0 ? 0 : bias + 96, add);
  }
}

/**
 * One token `x` `[k]` times panels `[first, last)` of f16 (`exponentBits` 5) or bf16 (8), to `y`. `bias` is a row that
 * is added, or 0; it may be read to the end of a panel.
 */
export function halfVector(x: usize, panels: usize, exponentBits: i32, k: usize, bias: usize, y: usize, first: usize, last: usize, worker: usize): void {
  for (let panel = first; panel < last; panel++) {
    const words = panels + panel * k * INPUT;
    const row = bias == 0 ? 0 : bias + panel * WIDTH * 4;
    const to = y + panel * WIDTH * 4;
    if (exponentBits == 5) panelVector(x, words, k, row, to, true);
    else panelVector(x, words, k, row, to, false);
  }
}

/** Inputs `[0, depth)` of a panel as f32: four panels of 8 outputs, as `micro` takes them, `DEPTH * 32` bytes apart. */
// @ts-expect-error: decorator
@inline
function decodePanel(words: usize, depth: usize, to: usize, short: bool): void {
  for (const end = words + depth * INPUT; words < end; words += INPUT) {
    for (let quarter: usize = 0; quarter < 4; quarter++) {
      const w = v128.load(words + quarter * 16);
      v128.store(to + quarter * DEPTH * 32, low(w, short));
      v128.store(to + quarter * DEPTH * 32, high(w, short), 16);
    }
    to += 32;
  }
}

/**
 * `rows` rows of a packed A times panels `[first, last)`, to rows of `stride` values at `y`: each panel is made f32 256
 * inputs at a time in `scratch` (32 kB for each worker), and multiplied as `matmulTile` does.
 */
export function halfPanels(
  a: usize, panels: usize, exponentBits: i32, k: usize, bias: usize, y: usize, rows: usize, stride: usize, scratch: usize,
  first: usize, last: usize, worker: usize,
): void {
  const own = scratch + worker * 4 * DEPTH * 32;
  for (let start: usize = 0; start < k; start += DEPTH) {
    const depth = min(DEPTH, k - start);
    for (let panel = first; panel < last; panel++) {
      const words = panels + (panel * k + start) * INPUT;
      if (exponentBits == 5) decodePanel(words, depth, own, true);
      else decodePanel(words, depth, own, false);
      for (let row: usize = 0; row < rows; row += MR) {
        const from = a + (rows * start + row * depth) * 4;
        for (let quarter: usize = 0; quarter < 4; quarter++) {
          const column = panel * WIDTH + quarter * 8;
          const added = bias == 0 ? 0 : bias + column * 4;
          micro(from, own + quarter * DEPTH * 32, y + (row * stride + column) * 4, stride * 4, depth, added, start > 0);
        }
      }
    }
  }
}
