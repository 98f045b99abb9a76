/**
 * Walsh-Hadamard transform in place, in chunks of consecutive values. The first steps of a chunk, up to a span that
 * fits workgroup memory, run in workgroup memory. The larger steps are butterflies in storage, one a dispatch.
 */
import { type KernelSource, linearIndex, wgslModule } from './module.js';

const invocations = 128;

/** Steps with halves of `1 .. size/2` on spans of `span >= size` values; then multiplies with `factor`. */
export function hadamardSpan(span: number, size: number): KernelSource {
  return wgslModule({
    label: `hadamard ${size}`,
    parameters: { values: 'u32', factor: 'f32' },
    bindings: [{ name: 'x', access: 'read_write', type: 'array<f32>' }],
    body: `
var<workgroup> tile: array<f32, ${span}>;

@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let start = (group.y * groups.x + group.x) * ${span}u;
  for (var i = local; i < ${span}u; i += ${invocations}u) {
    if (start + i < p.values) {
      tile[i] = x[start + i];
    }
  }
  for (var half = 1u; half < ${size}u; half *= 2u) {
    workgroupBarrier();
    for (var pair = local; pair < ${span / 2}u; pair += ${invocations}u) {
      let i = 2u * pair - pair % half;
      let a = tile[i];
      let b = tile[i + half];
      tile[i] = a + b;
      tile[i + half] = a - b;
    }
  }
  workgroupBarrier();
  for (var i = local; i < ${span}u; i += ${invocations}u) {
    if (start + i < p.values) {
      x[start + i] = tile[i] * p.factor;
    }
  }
}`,
  });
}

/** One step with halves of `half` values, in storage; then multiplies with `factor`. */
export function hadamardStep(): KernelSource {
  return wgslModule({
    label: 'hadamard step',
    parameters: { pairs: 'u32', half: 'u32', factor: 'f32' },
    bindings: [{ name: 'x', access: 'read_write', type: 'array<f32>' }],
    body: `
@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let pair = ${linearIndex(invocations)};
  if (pair < p.pairs) {
    let i = 2u * pair - pair % p.half;
    let a = x[i];
    let b = x[i + p.half];
    x[i] = (a + b) * p.factor;
    x[i + p.half] = (a - b) * p.factor;
  }
}`,
  });
}

export const hadamardInvocations = invocations;
