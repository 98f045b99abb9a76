/**
 * GGUF Q4_K in the layout of the file: super-blocks of 256 weights in 144 bytes, which are 36 words
 * (docs/reference/file-formats.md#block-layouts-of-gguf): `w = d sc q - dmin mn` with 6-bit `sc`, `mn` for each 32.
 */
import type { Operand } from '../tile-product.js';

export const q4kLayout: Operand = {
  eight: true,
  bindings: [{ name: 'blocks', access: 'read', type: 'array<u32>' }],
  code: `fn scale_byte(base: u32, i: u32) -> u32 {
  return (blocks[base + 1u + i / 4u] >> (8u * (i % 4u))) & 255u;
}

fn load_b(row: u32, k: u32) -> Eight {
  let base = 36u * ((row * p.k + k) / 256u);
  let sub = (k % 256u) / 32u;
  var scale = scale_byte(base, sub) & 63u;
  var minimum = scale_byte(base, sub + 4u);
  if (sub < 4u) {
    minimum &= 63u;
  } else {
    let upper = scale_byte(base, sub - 4u) >> 6u;
    let both = minimum;
    minimum = (both >> 4u) | ((scale_byte(base, sub) >> 6u) << 4u);
    scale = (both & 15u) | (upper << 4u);
  }
  let d = unpack2x16float(blocks[base]);
  let at = base + 4u + 8u * (sub / 2u) + (k % 32u) / 4u;
  let shift = 4u * (sub % 2u);
  let first = (blocks[at] >> shift) & 0x0f0f0f0fu;
  let second = (blocks[at + 1u] >> shift) & 0x0f0f0f0fu;
  let s = d.x * f32(scale);
  let m = d.y * f32(minimum);
  let low = vec4f(vec4u(first, first >> 8u, first >> 16u, first >> 24u) & vec4u(15u));
  let high = vec4f(vec4u(second, second >> 8u, second >> 16u, second >> 24u) & vec4u(15u));
  return Eight(low * s - m, high * s - m, 1.0);
}`,
};
