/**
 * One block of the GPTQ column sweep (docs/reference/papers.md#gptq, inverse-free form). Rows are independent: an
 * invocation has one row and goes through the columns in order. `strip` columns are swept together. The sum over the
 * columns before the strip loads each difference once for all of them; the sum within the strip is in registers.
 * Differences are also kept transposed, so neighbouring rows read neighbouring values. Everything is f32.
 */
import type { RoundingGrid } from '@q/core';
import { each, type KernelSource, linearIndex, wgslModule } from './module.js';

export const sweepInvocations = 64;
export const sweepStrip = 8;

/** A float as a literal that WGSL reads to the same bits. */
const literal = (x: number) => {
  const text = String(Math.fround(x));
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
};

function rounding(grid: RoundingGrid): string {
  if (grid.kind === 'linear') {
    return `fn round_to_grid(x: f32, zero: f32) -> Rounded {
  let q = clamp(round(x + zero), ${literal(grid.min)}, ${literal(grid.max)});
  return Rounded(u32(i32(q) - ${grid.min}i), q - zero);
}`;
  }
  const { levels, codes } = grid;
  const middles = Array.from({ length: levels.length - 1 }, (_, i) => (levels[i] + levels[i + 1]) / 2);
  return `const levels = array<f32, ${levels.length}>(${Array.from(levels, literal).join(', ')});
const level_codes = array<u32, ${levels.length}>(${Array.from(codes, (code) => `${code}u`).join(', ')});
const middles = array<f32, ${Math.max(1, middles.length)}>(${middles.map(literal).join(', ') || '0.0f'});

fn round_to_grid(x: f32, zero: f32) -> Rounded {
  var index = 0u;
  for (var i = 0u; i < ${middles.length}u; i++) {
    index += select(0u, 1u, x > middles[i]);
  }
  return Rounded(level_codes[index], levels[index]);
}`;
}

export function gptqSweep(grid: RoundingGrid): KernelSource {
  return wgslModule({
    label: `gptq sweep, ${grid.kind}`,
    parameters: { rows: 'u32', columns: 'u32', groups: 'u32', words: 'u32' },
    bindings: [
      { name: 'weight', access: 'read_write', type: 'array<f32>' },
      { name: 'feedback', access: 'read', type: 'array<f32>' },
      { name: 'factor', access: 'read', type: 'array<f32>' },
      { name: 'scales', access: 'read', type: 'array<vec2f>' },
      { name: 'group_of', access: 'read', type: 'array<u32>' },
      { name: 'codes', access: 'read_write', type: 'array<u32>' },
      { name: 'differences', access: 'read_write', type: 'array<f32>' },
      { name: 'loss', access: 'read_write', type: 'array<f32>' },
    ],
    body: `
struct Rounded {
  code: u32,
  value: f32,
}

${rounding(grid)}

@compute @workgroup_size(${sweepInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = ${linearIndex(sweepInvocations)};
  if (row >= p.rows) {
    return;
  }
  var row_loss = 0.0;
  for (var j0 = 0u; j0 < p.columns; j0 += ${sweepStrip}u) {
${each(sweepStrip, (c) => `    var sum${c} = 0.0;`)}
    for (var i = 0u; i < j0; i++) {
      let d = differences[i * p.rows + row];
      let at = i * p.columns + j0;
${each(sweepStrip, (c) => `      sum${c} += d * factor[at + ${c}u];`)}
    }
    var low = 0u;
    var high = 0u;
${each(
  sweepStrip,
  (c) => `    if (j0 + ${c}u < p.columns) {
      let j = j0 + ${c}u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum${c} + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      ${c < 4 ? 'low' : 'high'} |= rounded.code << ${8 * (c % 4)}u;
${each(sweepStrip - 1 - c, (next) => `      sum${c + 1 + next} += d * factor[j * p.columns + j + ${next + 1}u];`)}
    }`,
)}
    codes[row * p.words + j0 / 4u] = low;
    codes[row * p.words + j0 / 4u + 1u] = high;
  }
  loss[row] = row_loss;
}`,
  });
}
