/**
 * Products of signed bytes, four of them a word along k, summed exactly in i32: `c[m, n] = sum_k a[row, k] b[column,
 * k]`. With the scales of both operands the results are f32 (SmoothQuant, eq. 2; LLM.int8(), eq. 7).
 */
import { each, type KernelSource, wgslModule } from './module.js';
import { largeTile, type TileShape } from './tile-product.js';

export interface Int8ProductOptions {
  /** Use `dot4I8Packed`, if the WGSL of the device has it. */
  readonly packedDot: boolean;
  /** `f32`: sums times `row_scales[row] * column_scales[column]`; `i32`: the sums. */
  readonly output: 'i32' | 'f32';
  readonly tile?: TileShape;
}

const plainDot = `fn bytes_of(word: u32) -> vec4i {
  return bitcast<vec4i>(vec4u(word << 24u, word << 16u, word << 8u, word)) >> vec4u(24u);
}

fn dot_bytes(a: u32, b: u32) -> i32 {
  return dot(bytes_of(a), bytes_of(b));
}`;

const packedDotProduct = `fn dot_bytes(a: u32, b: u32) -> i32 {
  return dot4I8Packed(a, b);
}`;

export function int8Product({ packedDot, output, tile = largeTile }: Int8ProductOptions): KernelSource {
  const { x, y, perColumn, perRow, depth } = tile;
  const [rows, columns] = [y * perRow, x * perColumn];
  const scaled = output === 'f32';
  const value = scaled ? 'f32(sum) * (row_scales[row] * column_scales[column])' : 'sum';
  const fill = (
    name: string,
    count: number,
    first: string,
  ) => `    for (var i = index; i < ${depth * count}u; i += ${x * y}u) {
      let row = i % ${count}u;
      let word = i / ${count}u;
      var v = 0u;
      if (k0 + word < p.words) {
        v = ${name}[(${first} + row) * p.words + k0 + word];
      }
      tile_${name}[i] = v;
    }`;
  const body = `
${packedDot ? packedDotProduct : plainDot}

var<workgroup> tile_a: array<u32, ${depth * rows}>;
var<workgroup> tile_b: array<u32, ${depth * columns}>;

fn store(row: u32, column: u32, sum: i32) {
  if (row < p.m && column < p.n) {
    c[row * p.n + column] = ${value};
  }
}

@compute @workgroup_size(${x}, ${y})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row0 = group.y * ${rows}u;
  let column0 = group.x * ${columns}u;
${each(perRow, (i) => each(perColumn, (j) => `  var s${i}_${j} = 0i;`))}
  for (var k0 = 0u; k0 < p.words; k0 += ${depth}u) {
${fill('a', rows, 'row0')}
${fill('b', columns, 'column0')}
    workgroupBarrier();
    for (var word = 0u; word < ${depth}u; word++) {
${each(perRow, (i) => `      let a${i} = tile_a[word * ${rows}u + local.y + ${i * y}u];`)}
${each(perColumn, (j) => `      let b${j} = tile_b[word * ${columns}u + local.x + ${j * x}u];`)}
${each(perRow, (i) => each(perColumn, (j) => `      s${i}_${j} += dot_bytes(a${i}, b${j});`))}
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<i32, ${perRow * perColumn}>(${each(perRow, (i) => each(perColumn, (j) => `s${i}_${j}`, ', '), ', ')});
  for (var i = 0u; i < ${perRow * perColumn}u; i++) {
    store(row0 + local.y + ${y}u * (i / ${perColumn}u), column0 + local.x + ${x}u * (i % ${perColumn}u), sums[i]);
  }
}`;
  return wgslModule({
    label: `int8 product, ${output}`,
    requires: packedDot ? ['packed_4x8_integer_dot_product'] : [],
    parameters: { m: 'u32', n: 'u32', words: 'u32' },
    bindings: [
      { name: 'a', access: 'read', type: 'array<u32>' },
      { name: 'b', access: 'read', type: 'array<u32>' },
      ...(scaled
        ? ([
            { name: 'row_scales', access: 'read', type: 'array<f32>' },
            { name: 'column_scales', access: 'read', type: 'array<f32>' },
          ] as const)
        : []),
      { name: 'c', access: 'read_write', type: scaled ? 'array<f32>' : 'array<i32>' },
    ],
    body,
  });
}
