/** FP8 weights, a byte each, times a scale: per tensor, row, block, or group of 32 with powers of two (MXFP8). */
import type { Operand } from '../tile-product.js';
import { type ScaleIndex, type ScaleStorage, scaleSource } from './scale-source.js';

export interface Float8Layout {
  readonly format: 'e4m3' | 'e5m2';
  readonly scales: ScaleStorage;
  readonly index: ScaleIndex;
}

/** E5M2 is the upper half of an f16. E4M3 is moved into an f32; its subnormals are computed from their integers. */
const decode = {
  e4m3: `fn floats_of(word: u32) -> vec4f {
  let bytes = vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(255u);
  let magnitude = bytes & vec4u(127u);
  let normal = bitcast<vec4f>((magnitude << vec4u(20u)) + vec4u(120u << 23u));
  let value = select(normal, vec4f(magnitude) * 0.001953125, magnitude < vec4u(8u));
  return select(value, -value, bytes > vec4u(127u));
}`,
  e5m2: `fn floats_of(word: u32) -> vec4f {
  let even = unpack2x16float((word & 0x00ff00ffu) << 8u);
  let odd = unpack2x16float(word & 0xff00ff00u);
  return vec4f(even.x, odd.x, even.y, odd.y);
}`,
};

export function float8Layout({ format, scales, index }: Float8Layout): Operand {
  const source = scaleSource(scales, index);
  return {
    eight: true,
    parameters: source.parameters,
    bindings: [{ name: 'codes', access: 'read', type: 'array<u32>' }, ...source.bindings],
    code: `${source.code}

${decode[format]}

fn load_b(row: u32, k: u32) -> Eight {
  let at = (row * p.k + k) / 4u;
  return Eight(floats_of(codes[at]), floats_of(codes[at + 1u]), scale_of(row, k));
}`,
  };
}
