/**
 * Integers in groups along k: `w = (q - zero) * scale`. Codes are unsigned, LSB-first along k, rows one after the
 * other. GPTQ, AWQ, compressed-tensors, MatMulNBits, Q4_0 and Q8_0 are all converted to this layout. With 2 bits and
 * zero 1 it has ternary weights.
 */
import type { Operand } from '../tile-product.js';

export interface AffineLayout {
  readonly bits: 2 | 4 | 8;
  /** Consecutive k that share a scale, a multiple of 8; the last group of a row may be shorter. */
  readonly groupSize: number;
  /** `half`: scale and zero as two f16 in a word. `float`: as two f32. */
  readonly scales: 'half' | 'float';
}

const loadCodes = {
  2: `  let at = row * p.k + k;
  let word = codes[at / 16u] >> (2u * (at % 16u));
  let low = vec4f(vec4u(word, word >> 2u, word >> 4u, word >> 6u) & vec4u(3u));
  let high = vec4f(vec4u(word >> 8u, word >> 10u, word >> 12u, word >> 14u) & vec4u(3u));`,
  4: `  let word = codes[(row * p.k + k) / 8u];
  let low = vec4f(vec4u(word, word >> 4u, word >> 8u, word >> 12u) & vec4u(15u));
  let high = vec4f(vec4u(word >> 16u, word >> 20u, word >> 24u, word >> 28u) & vec4u(15u));`,
  8: `  let at = (row * p.k + k) / 4u;
  let first = codes[at];
  let second = codes[at + 1u];
  let low = vec4f(vec4u(first, first >> 8u, first >> 16u, first >> 24u) & vec4u(255u));
  let high = vec4f(vec4u(second, second >> 8u, second >> 16u, second >> 24u) & vec4u(255u));`,
};

export function affineLayout({ bits, groupSize, scales }: AffineLayout): Operand {
  const pair = `scales[row * ((p.k + ${groupSize - 1}u) / ${groupSize}u) + k / ${groupSize}u]`;
  return {
    eight: true,
    group: groupSize,
    bindings: [
      { name: 'codes', access: 'read', type: 'array<u32>' },
      { name: 'scales', access: 'read', type: scales === 'half' ? 'array<u32>' : 'array<vec2f>' },
    ],
    code: `fn scale_b(row: u32, k: u32) -> vec2f {
  return ${scales === 'half' ? `unpack2x16float(${pair})` : pair};
}

fn scaled_b(row: u32, k: u32, scale: vec2f) -> Eight {
${loadCodes[bits]}
  return Eight(low - scale.y, high - scale.y, scale.x);
}

fn load_b(row: u32, k: u32) -> Eight {
  return scaled_b(row, k, scale_b(row, k));
}`,
  };
}
