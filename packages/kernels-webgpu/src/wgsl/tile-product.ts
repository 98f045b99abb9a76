/**
 * Products in tiles: a workgroup computes `rows x columns` outputs, each invocation `perRow x perColumn` of them. Both
 * operands go through workgroup memory as vec4s of four consecutive k. So one step is a dot product of four, and
 * operands that are packed along k (every quantized layout) are unpacked directly into this form. Sums are f32 (or f16
 * products with f32 sums), over k in order within an invocation.
 */
import { type Binding, each, type KernelSource, wgslModule } from './module.js';

export interface TileShape {
  /** Invocations of a workgroup, across columns and rows. */
  readonly x: number;
  readonly y: number;
  /** Outputs of an invocation. */
  readonly perColumn: number;
  readonly perRow: number;
  /** Depth of a tile, a multiple of 8. */
  readonly depth: number;
}

/** 64 x 64 outputs from 256 invocations: 8 kB of workgroup memory at depth 16. */
export const largeTile: TileShape = { x: 16, y: 16, perColumn: 4, perRow: 4, depth: 16 };

/** The source of the tiles: WGSL that defines a function, and the storage that it reads. */
export interface Operand {
  readonly bindings: readonly Binding[];
  readonly parameters?: KernelSource['parameters'];
  /**
   * Defines `fn NAME(row: u32, k: u32) -> vec4f` (four values from k on) or, with `eight`, `-> Eight`. For rows past
   * the end any value is allowed. Steps of 4 (8) never begin past the end of k, but the last step may reach over it.
   */
  readonly code: string;
  readonly eight?: boolean;
  /**
   * Consecutive k that share a scale, for weights that can be read in two steps. `code` then also defines `fn
   * scale_b(row: u32, k: u32) -> vec2f` and `fn scaled_b(row: u32, k: u32, scale: vec2f) -> Eight`. The scale is that
   * of any k of the same group.
   */
  readonly group?: number;
}

export interface TileProductOptions {
  readonly label: string;
  readonly a: Operand;
  readonly b: Operand;
  readonly tile?: TileShape;
  readonly f16?: boolean;
  /** Adds the product to the values of the output. */
  readonly accumulate?: boolean;
  /** Computes only tiles that touch the upper triangle, and writes them to both triangles. */
  readonly symmetric?: boolean;
}

/** Two vec4s of consecutive k, times one factor. */
export const eightType = `struct Eight {
  low: vec4f,
  high: vec4f,
  factor: f32,
}`;

/** A dense operand: `name[row, k]`, or `name[k, row]` when it is transposed; `rows` is the field with its row count. */
export function denseOperand(
  name: 'a' | 'b',
  rows: 'm' | 'n',
  { transposed, vector }: { transposed: boolean; vector: boolean },
): Operand {
  if (vector && !transposed) {
    return {
      bindings: [{ name, access: 'read', type: 'array<vec4f>' }],
      code: `fn load_${name}(row: u32, k: u32) -> vec4f {
  return ${name}[(row * p.k + k) / 4u];
}`,
    };
  }
  const at = transposed ? `(k + i) * p.${rows} + row` : 'row * p.k + k + i';
  return {
    bindings: [{ name, access: 'read', type: 'array<f32>' }],
    code: `fn load_${name}(row: u32, k: u32) -> vec4f {
  var v = vec4f();
  if (row < p.${rows}) {
    for (var i = 0u; i < min(4u, p.k - k); i++) {
      v[i] = ${name}[${at}];
    }
  }
  return v;
}`,
  };
}

/**
 * `c[m, n] (+)= sum_k A(row, k) B(column, k)`. Column 0 of the operand is column `column0` of c, whose rows have
 * `stride` values, so parts of a product write into one output.
 */
export function tileProduct(options: TileProductOptions): KernelSource {
  const { label, a, b, tile = largeTile, f16 = false, accumulate = false, symmetric = false } = options;
  const { x, y, perColumn, perRow, depth } = tile;
  const [rows, columns, quads] = [y * perRow, x * perColumn, depth / 4];
  const vec = f16 ? 'vec4h' : 'vec4f';
  const fill = (name: string, operand: Operand, count: number, first: string) =>
    operand.eight
      ? `    for (var i = index; i < ${(quads / 2) * count}u; i += ${x * y}u) {
      let row = i % ${count}u;
      let quad = 2u * (i / ${count}u);
      var w = Eight();
      if (k0 + 4u * quad < p.k) {
        w = load_${name}(${first} + row, k0 + 4u * quad);
      }
      tile_${name}[quad * ${count}u + row] = ${vec}(w.low * w.factor);
      tile_${name}[(quad + 1u) * ${count}u + row] = ${vec}(w.high * w.factor);
    }`
      : `    for (var i = index; i < ${quads * count}u; i += ${x * y}u) {
      let row = i % ${count}u;
      let quad = i / ${count}u;
      var v = vec4f();
      if (k0 + 4u * quad < p.k) {
        v = load_${name}(${first} + row, k0 + 4u * quad);
      }
      tile_${name}[quad * ${count}u + row] = ${vec}(v);
    }`;
  const dot = (i: number, j: number) => `${f16 ? 'f32(' : ''}dot(a${i}, b${j})${f16 ? ')' : ''}`;
  const body = `
${a.eight || b.eight ? eightType : ''}
${a.code}
${b.code}
var<workgroup> tile_a: array<${vec}, ${quads * rows}>;
var<workgroup> tile_b: array<${vec}, ${quads * columns}>;

fn store(row: u32, column: u32, value: f32) {
  if (row < p.m && column < p.n${symmetric ? ' && row <= column' : ''}) {
    let at = row * p.stride + p.column0 + column;
    c[at] = ${accumulate ? 'c[at] + ' : ''}value;${
      symmetric
        ? `
    c[column * p.stride + row] = value;`
        : ''
    }
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
${symmetric ? `  if (column0 + ${columns}u <= row0) {\n    return;\n  }\n` : ''}${each(perRow, (i) => each(perColumn, (j) => `  var s${i}_${j} = 0.0;`))}
  for (var k0 = 0u; k0 < p.k; k0 += ${depth}u) {
${fill('a', a, rows, 'row0')}
${fill('b', b, columns, 'column0')}
    workgroupBarrier();
    for (var quad = 0u; quad < ${quads}u; quad++) {
${each(perRow, (i) => `      let a${i} = tile_a[quad * ${rows}u + local.y + ${i * y}u];`)}
${each(perColumn, (j) => `      let b${j} = tile_b[quad * ${columns}u + local.x + ${j * x}u];`)}
${each(perRow, (i) => each(perColumn, (j) => `      s${i}_${j} += ${dot(i, j)};`))}
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<f32, ${perRow * perColumn}>(${each(perRow, (i) => each(perColumn, (j) => `s${i}_${j}`, ', '), ', ')});
  for (var i = 0u; i < ${perRow * perColumn}u; i++) {
    store(row0 + local.y + ${y}u * (i / ${perColumn}u), column0 + local.x + ${x}u * (i % ${perColumn}u), sums[i]);
  }
}`;
  return wgslModule({
    label,
    enable: f16 ? ['f16'] : [],
    parameters: { m: 'u32', n: 'u32', k: 'u32', stride: 'u32', column0: 'u32', ...a.parameters, ...b.parameters },
    bindings: [...a.bindings, ...b.bindings, { name: 'c', access: 'read_write', type: 'array<f32>' }],
    body,
  });
}

/** Workgroups of a product of `m x n` outputs: columns in x, rows in y. */
export function tileWorkgroups(
  m: number,
  n: number,
  { x, y, perColumn, perRow }: TileShape = largeTile,
): [number, number] {
  return [Math.ceil(n / (x * perColumn)), Math.ceil(m / (y * perRow))];
}
