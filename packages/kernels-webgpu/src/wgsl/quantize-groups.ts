/**
 * Converts weights to unsigned codes with given scales and zeros, in groups along a row: `q = clamp(round(w / scale +
 * zero), 0, max)`, halves to even. WGSL allows an error in the last bits of a quotient, so a value that is very close
 * to a tie may round either way. Four codes a word.
 */
import { type KernelSource, linearIndex, wgslModule } from './module.js';

export const quantizeInvocations = 64;

export function quantizeGroups(): KernelSource {
  return wgslModule({
    label: 'quantize groups',
    parameters: { rows: 'u32', columns: 'u32', words: 'u32', group_size: 'u32', groups: 'u32', largest: 'f32' },
    bindings: [
      { name: 'x', access: 'read', type: 'array<f32>' },
      { name: 'scales', access: 'read', type: 'array<vec2f>' },
      { name: 'codes', access: 'read_write', type: 'array<u32>' },
    ],
    body: `
@compute @workgroup_size(${quantizeInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = ${linearIndex(quantizeInvocations)};
  let row = i / p.words;
  if (row >= p.rows) {
    return;
  }
  var word = 0u;
  for (var j = 0u; j < 4u; j++) {
    let column = 4u * (i % p.words) + j;
    if (column < p.columns) {
      let pair = scales[row * p.groups + column / p.group_size];
      let code = clamp(round(x[row * p.columns + column] / pair.x + pair.y), 0.0, p.largest);
      word |= u32(code) << (8u * j);
    }
  }
  codes[i] = word;
}`,
  });
}
