/** `y[token, j] = x[token, order[j]]`: inputs in the order of act-order weights on the device. */
import { type KernelSource, linearIndex, wgslModule } from './module.js';

export const gatherInvocations = 64;

export function gatherColumns(): KernelSource {
  return wgslModule({
    label: 'gather columns',
    parameters: { m: 'u32', k: 'u32' },
    bindings: [
      { name: 'x', access: 'read', type: 'array<f32>' },
      { name: 'order', access: 'read', type: 'array<u32>' },
      { name: 'y', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
@compute @workgroup_size(${gatherInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = ${linearIndex(gatherInvocations)};
  if (i < p.m * p.k) {
    y[i] = x[i / p.k * p.k + order[i % p.k]];
  }
}`,
  });
}
