/**
 * LLM.int8()'s split: columns in which some token reaches the threshold (section 3.2, eq. 8) are multiplied in f32.
 * They are marked first, then listed in order; then their products are added to the integer product.
 */
import { type KernelSource, linearIndex, wgslModule } from './module.js';

export const outlierInvocations = 64;

/** Sets `marks[column] = 1` if some `|x|` of the column reaches the threshold. */
export function markOutliers(): KernelSource {
  return wgslModule({
    label: 'mark outliers',
    parameters: { m: 'u32', k: 'u32', threshold: 'f32' },
    bindings: [
      { name: 'x', access: 'read', type: 'array<f32>' },
      { name: 'marks', access: 'read_write', type: 'array<u32>' },
    ],
    body: `
@compute @workgroup_size(${outlierInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let column = ${linearIndex(outlierInvocations)};
  if (column >= p.k) {
    return;
  }
  var top = 0.0;
  for (var row = 0u; row < p.m; row++) {
    top = max(top, abs(x[row * p.k + column]));
  }
  marks[column] = select(0u, 1u, top >= p.threshold);
}`,
  });
}

/**
 * `list[0]` is the number of marked columns; their indices follow, ascending. One workgroup; each invocation has a run
 * of columns.
 */
export function listOutliers(): KernelSource {
  return wgslModule({
    label: 'list outliers',
    parameters: { k: 'u32' },
    bindings: [
      { name: 'marks', access: 'read', type: 'array<u32>' },
      { name: 'list', access: 'read_write', type: 'array<u32>' },
    ],
    body: `
var<workgroup> counts: array<u32, ${outlierInvocations}>;

@compute @workgroup_size(${outlierInvocations})
fn main(@builtin(local_invocation_index) local: u32) {
  let run = (p.k + ${outlierInvocations - 1}u) / ${outlierInvocations}u;
  let first = min(local * run, p.k);
  let last = min(first + run, p.k);
  var count = 0u;
  for (var column = first; column < last; column++) {
    count += marks[column];
  }
  counts[local] = count;
  workgroupBarrier();
  var at = 1u;
  for (var i = 0u; i < local; i++) {
    at += counts[i];
  }
  for (var column = first; column < last; column++) {
    if (marks[column] != 0u) {
      list[at] = column;
      at++;
    }
  }
  if (local == ${outlierInvocations - 1}u) {
    list[0] = at - 1u;
  }
}`,
  });
}

/** Adds `sum over listed columns of x[row, column] * w[out, column] * scale[out]` to c; one invocation an output. */
export function addOutliers(): KernelSource {
  return wgslModule({
    label: 'add outliers',
    parameters: { m: 'u32', n: 'u32', k: 'u32', words: 'u32' },
    bindings: [
      { name: 'x', access: 'read', type: 'array<f32>' },
      { name: 'list', access: 'read', type: 'array<u32>' },
      { name: 'codes', access: 'read', type: 'array<u32>' },
      { name: 'scales', access: 'read', type: 'array<f32>' },
      { name: 'c', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
@compute @workgroup_size(${outlierInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = ${linearIndex(outlierInvocations)};
  let row = i / p.n;
  let out = i % p.n;
  if (row >= p.m) {
    return;
  }
  var sum = 0.0;
  for (var j = 1u; j <= list[0]; j++) {
    let column = list[j];
    let word = codes[out * p.words + column / 4u];
    let code = bitcast<i32>(word << (24u - 8u * (column % 4u))) >> 24u;
    sum += x[row * p.k + column] * f32(code);
  }
  c[i] += sum * scales[out];
}`,
  });
}
