/**
 * Quantized weights times tokens without workgroup memory, for drivers that run a subgroup as one vector on a
 * processor. On such drivers a load with a separate address in each lane is eight loads with a check each, and a
 * barrier switches every invocation, but a shuffle is one instruction. So each lane has `rows` rows of the weight and
 * reads only them. The lanes of a subgroup load a step of inputs once, together, and each lane gets its values by
 * shuffles. A scale is read once for its group.
 */
import { each, type KernelSource, wgslModule } from './module.js';
import { eightType, type Operand } from './tile-product.js';

export interface ShuffleShape {
  /** Invocations of a workgroup: a multiple of the lanes of a subgroup, or fewer. At least 8. */
  readonly invocations: number;
  /** Rows of the weight of an invocation. */
  readonly rows: number;
  /** The most tokens of a workgroup. Their sums, `rows` each, stay in registers. */
  readonly tokens: number;
}

/** Lanes that load a step of inputs together, four inputs each. Every subgroup must have this number of lanes. */
export type Lanes = 4 | 8;

export interface ShuffleProductOptions {
  readonly label: string;
  /**
   * The second operand. It has scales in a separate step: {@link Operand.group} is a multiple of four times the lanes.
   */
  readonly b: Operand;
  /** Tokens of a workgroup. */
  readonly tokens: number;
  readonly shape: ShuffleShape;
  readonly lanes: Lanes;
}

/** Whether a step of inputs is within one group of the operand. */
export const canShuffle = ({ group = 0 }: Operand, lanes: Lanes) => group > 0 && group % (4 * lanes) === 0;

export function shuffleProduct({ label, b, tokens, shape, lanes }: ShuffleProductOptions): KernelSource {
  const { invocations, rows } = shape;
  const step = 4 * lanes;
  return wgslModule({
    label,
    enable: ['subgroups'],
    parameters: { m: 'u32', n: 'u32', k: 'u32', stride: 'u32', column0: 'u32', ...b.parameters },
    bindings: [
      { name: 'a', access: 'read', type: 'array<vec4f>' },
      ...b.bindings,
      { name: 'c', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
${eightType}

${b.code}

@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let own = lane % ${lanes}u;
  let token0 = group.y * ${tokens}u;
${each(rows, (r) => `  let row${r} = group.x * ${invocations * rows}u + ${r * invocations}u + local;`)}
${each(rows, (r) => each(tokens, (t) => `  var s${r}_${t} = 0.0;`))}
  for (var k0 = 0u; k0 < p.k; k0 += ${step}u) {
${each(rows, (r) => `    let scale${r} = scale_b(row${r}, k0);`)}
${each(tokens, (t) => `    let x${t} = select(vec4f(), a[((token0 + ${t}u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);`)}
    for (var source = 0u; source < ${lanes}u; source += 2u) {
      let k = k0 + 4u * source;
${each(rows, (r) => `      let w${r} = scaled_b(row${r}, k, scale${r});`)}
${each(
  tokens,
  (t) => `      let low${t} = subgroupShuffle(x${t}, source);
      let high${t} = subgroupShuffle(x${t}, source + 1u);
${each(rows, (r) => `      s${r}_${t} += w${r}.factor * (dot(w${r}.low, low${t}) + dot(w${r}.high, high${t}));`)}`,
)}
    }
  }
${each(rows, (r) => each(tokens, (t) => `  store(token0 + ${t}u, row${r}, s${r}_${t});`))}
}

fn store(token: u32, row: u32, value: f32) {
  if (token < p.m && row < p.n) {
    c[token * p.stride + p.column0 + row] = value;
  }
}`,
  });
}

/** Workgroups of a product of `m x n` outputs: rows of the weight in x, tokens in y. */
export function shuffleWorkgroups(m: number, n: number, tokens: number, shape: ShuffleShape): [number, number] {
  return [Math.ceil(n / (shape.invocations * shape.rows)), Math.ceil(m / tokens)];
}
