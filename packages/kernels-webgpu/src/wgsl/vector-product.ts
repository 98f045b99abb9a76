/**
 * Quantized weights times a few tokens (decoding). The speed is limited by the bytes of the weights, each of which is
 * read once. A workgroup has `rows` outputs. Its invocations go through k in steps of eight; then their f32 sums are
 * added, by subgroup operations if the device has them, else in workgroup memory.
 */
import { each, type KernelSource, wgslModule } from './module.js';
import { eightType, type Operand } from './tile-product.js';

export interface VectorProductOptions {
  readonly label: string;
  readonly b: Operand;
  /** Tokens of a workgroup: 1 to 4. */
  readonly tokens: number;
  readonly shape: VectorShape;
  readonly subgroups: boolean;
}

export interface VectorShape {
  readonly invocations: number;
  /** Outputs of a workgroup. This number times the tokens is at most the number of invocations. */
  readonly rows: number;
}

export function vectorProduct(options: VectorProductOptions): KernelSource {
  const { label, b, tokens, shape, subgroups } = options;
  const { invocations, rows } = shape;
  const sums = rows * tokens;
  const forEach = (make: (r: number, t: number) => string, separator = '\n') =>
    each(rows, (r) => each(tokens, (t) => make(r, t), separator), separator);
  const tree = `  for (var half = ${invocations / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    for (var i = local; i < half * ${sums}u; i += ${invocations}u) {
      partial[i] += partial[i + half * ${sums}u];
    }
  }
  workgroupBarrier();
  if (local < ${sums}u) {
    let total = partial[local];`;
  const leaders = `  workgroupBarrier();
  if (local < ${sums}u) {
    var total = 0.0;
    for (var i = 0u; i < ${invocations}u; i++) {
      total += partial[i * ${sums}u + local];
    }`;
  return wgslModule({
    label,
    enable: subgroups ? ['subgroups'] : [],
    parameters: { m: 'u32', n: 'u32', k: 'u32', stride: 'u32', column0: 'u32', ...b.parameters },
    bindings: [
      { name: 'a', access: 'read', type: 'array<vec4f>' },
      ...b.bindings,
      { name: 'c', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
${eightType}

${b.code}

var<workgroup> partial: array<f32, ${invocations * sums}>;

@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) local: u32,${subgroups ? '\n  @builtin(subgroup_invocation_id) lane: u32,' : ''}
) {
  let row0 = group.x * ${rows}u;
  let token0 = group.y * ${tokens}u;
${forEach((r, t) => `  var s${r}_${t} = 0.0;`)}
  for (var k = 8u * local; k < p.k; k += ${8 * invocations}u) {
${each(
  tokens,
  (t) => `    let at${t} = ((token0 + ${t}u) * p.k + k) / 4u;
    let low${t} = a[at${t}];
    let high${t} = a[at${t} + 1u];`,
)}
${each(
  rows,
  (r) => `    let w${r} = load_b(row0 + ${r}u, k);
${each(tokens, (t) => `    s${r}_${t} += w${r}.factor * (dot(w${r}.low, low${t}) + dot(w${r}.high, high${t}));`)}`,
)}
  }
${subgroups ? `${forEach((r, t) => `  s${r}_${t} = subgroupAdd(s${r}_${t});`)}\n` : ''}${forEach((r, t) => `  partial[local * ${sums}u + ${r * tokens + t}u] = ${subgroups ? `select(0.0, s${r}_${t}, lane == 0u)` : `s${r}_${t}`};`)}
${subgroups ? leaders : tree}
    let row = row0 + local / ${tokens}u;
    let token = token0 + local % ${tokens}u;
    if (row < p.n && token < p.m) {
      c[token * p.stride + p.column0 + row] = total;
    }
  }
}`,
  });
}
