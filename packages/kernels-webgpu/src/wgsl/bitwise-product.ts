/**
 * Products of rows of bits, exact in i32: `out[m, n]` of signs {-1,+1} (`k - 2 popcount(a xor b)`; XNOR-Net), of bits
 * {0,1} (`popcount(a and b)`), and of ternary values as two masks, non-zero and negative. Bits beyond k are zero.
 */
import { type KernelSource, wgslModule } from './module.js';

export type BitwiseKind = 'signs' | 'bits' | 'ternary';

export const bitwiseInvocations = { x: 8, y: 8 };

const steps: Record<BitwiseKind, string> = {
  signs: 'sum += countOneBits(a[i] ^ b[j]);',
  bits: 'sum += countOneBits(a[i] & b[j]);',
  // A pair of words: x where a value is not zero, y where it is negative.
  ternary: `let both = a[i].x & b[j].x;
    sum += countOneBits(both) - 2u * countOneBits(both & (a[i].y ^ b[j].y));`,
};

export function bitwiseProduct(kind: BitwiseKind): KernelSource {
  const type = kind === 'ternary' ? 'array<vec2u>' : 'array<u32>';
  const { x, y } = bitwiseInvocations;
  return wgslModule({
    label: `product of ${kind}`,
    parameters: { m: 'u32', n: 'u32', k: 'u32', words: 'u32' },
    bindings: [
      { name: 'a', access: 'read', type },
      { name: 'b', access: 'read', type },
      { name: 'c', access: 'read_write', type: 'array<i32>' },
    ],
    body: `
@compute @workgroup_size(${x}, ${y})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.n || id.y >= p.m) {
    return;
  }
  var sum = 0u;
  for (var w = 0u; w < p.words; w++) {
    let i = id.y * p.words + w;
    let j = id.x * p.words + w;
    ${steps[kind]}
  }
  c[id.y * p.n + id.x] = ${kind === 'signs' ? 'i32(p.k) - 2 * i32(sum)' : 'bitcast<i32>(sum)'};
}`,
  });
}
