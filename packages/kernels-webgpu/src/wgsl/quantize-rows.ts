/**
 * Rounds inputs of integer products: a token's values become signed bytes with the scale `max|x| / 127` (SmoothQuant,
 * eq. 1). Columns that are marked as outliers are ignored and get code 0 (LLM.int8(), section 3.2). One workgroup a
 * token.
 */
import { type KernelSource, wgslModule } from './module.js';

const invocations = 64;

export function quantizeRows(options: { readonly outliers: boolean }): KernelSource {
  const { outliers } = options;
  const value = outliers ? 'select(x[row + column], 0.0, marks[column] != 0u)' : 'x[row + column]';
  return wgslModule({
    label: `quantize rows${outliers ? ' without outliers' : ''}`,
    parameters: { m: 'u32', k: 'u32', words: 'u32' },
    bindings: [
      { name: 'x', access: 'read', type: 'array<f32>' },
      ...(outliers ? [{ name: 'marks', access: 'read' as const, type: 'array<u32>' }] : []),
      { name: 'codes', access: 'read_write', type: 'array<u32>' },
      { name: 'scales', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
var<workgroup> largest: array<f32, ${invocations}>;

@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.x * p.k;
  var own = 0.0;
  for (var column = local; column < p.k; column += ${invocations}u) {
    own = max(own, abs(${value}));
  }
  largest[local] = own;
  for (var half = ${invocations / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      largest[local] = max(largest[local], largest[local + half]);
    }
  }
  workgroupBarrier();
  let top = largest[0];
  let scale = select(top / 127.0, 1.0, top == 0.0);
  for (var word = local; word < p.words; word += ${invocations}u) {
    var packed = 0u;
    for (var j = 0u; j < 4u; j++) {
      let column = 4u * word + j;
      if (column < p.k) {
        let code = i32(clamp(round(${value} / scale), -127.0, 127.0));
        packed |= (bitcast<u32>(code) & 255u) << (8u * j);
      }
    }
    codes[group.x * p.words + word] = packed;
  }
  if (local == 0u) {
    scales[group.x] = scale;
  }
}`,
  });
}
