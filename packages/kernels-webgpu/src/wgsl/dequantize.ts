/** `n` rows of a weight of any layout, from `row0` on, as f32 `[n, k]`: eight values a step. */
import { type KernelSource, linearIndex, wgslModule } from './module.js';
import { eightType, type Operand } from './tile-product.js';

export const dequantizeInvocations = 64;

export function dequantizeWeights(label: string, b: Operand): KernelSource {
  return wgslModule({
    label: `dequantize ${label}`,
    parameters: { n: 'u32', k: 'u32', row0: 'u32', ...b.parameters },
    bindings: [...b.bindings, { name: 'c', access: 'read_write', type: 'array<vec4f>' }],
    body: `
${eightType}

${b.code}

@compute @workgroup_size(${dequantizeInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let step = ${linearIndex(dequantizeInvocations)};
  let row = step / (p.k / 8u);
  if (row < p.n) {
    let w = load_b(p.row0 + row, 8u * (step % (p.k / 8u)));
    c[2u * step] = w.low * w.factor;
    c[2u * step + 1u] = w.high * w.factor;
  }
}`,
  });
}
