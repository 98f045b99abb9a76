/**
 * Writes the AssemblyScript of products with packed weights: one text for every width of codes, kind of inputs and number of
 * tokens side by side. The inner loop is unrolled over the codes of a word, so that every mask and shift is a constant.
 *
 * A panel is 8 outputs: for each word of the inputs 8 words side by side, so that a vector has 4 outputs and lanes are outputs
 * from the first operation to the last. `grids` holds 8 scales and 8 negated zero points for each panel and group.
 */

const widths = [4, 2];
const range = (count) => Array.from({ length: count }, (_, i) => i);
const hex = (value) => `0x${(value >>> 0).toString(16)}`;
/** Both halves of a panel. */
const halves = [0, 1];

/** Sums of a tile: `s{slot}{half}`. */
const slots = range(4);
const indent = (lines, depth) => lines.map((line) => `${' '.repeat(depth)}${line}`).join('\n');
/** One of the 4 values of a vector in all lanes: V8 moves loads to the front of a block, and many splats would spill. */
const lane = (vector, i) => `v128.shuffle<i32>(${vector}, ${vector}, ${i}, ${i}, ${i}, ${i})`;

/**
 * f32 inputs: codes are shifted down, masked and converted. Inputs are 4 to a vector: of one token, or of 4 tokens. A single token has
 * 4 sums an output, taken in turn, so that one addition need not wait for the other. A loop goes over the word: unrolled, all of
 * its inputs would be loaded first, and spill.
 */
const floats = {
  name: '',
  inputs: 'f32',
  /** Bytes of a token's inputs for a word of codes. */
  inputBytes: (bits) => 4 * (32 / bits),
  zero: 'f32x4.splat(0)',
  step(bits, tokens) {
    const steps = tokens === 1 ? 4 : 1;
    const code = (p, v) =>
      `f32x4.convert_i32x4_s(v128.and(${p ? `i32x4.shr_u(${v}, ${bits * p})` : v}, i32x4.splat(${2 ** bits - 1})))`;
    return [
      `for (const next = at + ${tokens * this.inputBytes(bits)}; at < next; at += 16) {`,
      '  x0 = v128.load(at);',
      ...range(steps).flatMap((p) => [
        ...halves.map((half) => `  c${half} = ${code(p, `v${half}`)};`),
        ...(tokens === 1 ? [p] : slots).flatMap((slot) => [
          `  u = ${lane('x0', slot)};`,
          ...halves.map((half) => `  s${slot}${half} = madd(u, c${half}, s${slot}${half});`),
        ]),
      ]),
      ...halves.map((half) => `  v${half} = i32x4.shr_u(v${half}, ${bits * steps});`),
      '}',
    ];
  },
  /** The sum of a token as floats. */
  joined: (tokens, token, half) =>
    tokens === 1
      ? slots.map((slot) => `s${slot}${half}`).reduce((x, y) => `f32x4.add(${x}, ${y})`)
      : `s${token}${half}`,
  scaled: false,
};

/**
 * int8 inputs: a plane of a word is 4 codes an output, multiplied with 4 inputs at once; two planes are added in 16 bits before
 * they are widened.
 */
const bytes = {
  name: 'Int8',
  inputs: 'int8',
  inputBytes: (bits) => 32 / bits,
  zero: 'i32x4.splat(0)',
  step(bits, tokens) {
    const plane = (j, v) =>
      `v128.and(${j === 0 ? v : `i32x4.shr_u(${v}, ${bits * j})`}, i32x4.splat(${hex((2 ** bits - 1) * 0x01010101)}))`;
    return [
      ...range(4 / bits).flatMap((pair) => [
        ...halves.flatMap((half) => [
          `c${half} = ${plane(2 * pair, `v${half}`)};`,
          `d${half} = ${plane(2 * pair + 1, `v${half}`)};`,
        ]),
        ...(tokens === 1
          ? [`u = v128.load32_splat(at, ${8 * pair});`, `w = v128.load32_splat(at, ${8 * pair + 4});`]
          : [`x0 = v128.load(at, ${32 * pair});`, `x1 = v128.load(at, ${32 * pair + 16});`]),
        ...range(tokens).flatMap((token) => [
          ...(tokens === 1 ? [] : [`u = ${lane('x0', token)};`, `w = ${lane('x1', token)};`]),
          ...halves.map((half) => {
            const pairs = `i16x8.add(dot8(u, c${half}), dot8(w, d${half}))`;
            return `s${token}${half} = i32x4.add(s${token}${half}, i32x4.extadd_pairwise_i16x8_s(${pairs}));`;
          }),
        ]),
      ]),
      `at += ${tokens * this.inputBytes(bits)};`,
    ];
  },
  joined: (_, token, half) => `f32x4.convert_i32x4_s(s${token}${half})`,
  scaled: true,
};

/** Panels times `tokens` tokens at a time; sums stay in registers for a chunk, which is a group or a part of one. */
function vectorProduct(bits, tokens, kind) {
  const { name, inputs, zero, joined, scaled } = kind;
  return `
/** ${bits} bits, ${inputs} inputs, ${tokens} token${tokens > 1 ? 's' : ''} at a time: panels \`[first, last)\`, all \`tiles\` of tokens. */
export function packed${name}Vector${bits}x${tokens}(
  x: usize, sums: usize, factors: usize, codes: usize, grids: usize, y: usize,
  words: usize, groupWords: usize, groups: usize, chunkWords: usize, chunks: usize, stride: usize, tiles: usize, first: usize, last: usize, worker: usize,
): void {
  for (let panel = first; panel < last; panel++) {
    const start = codes + panel * words * 32;
    const stop = start + words * 32;
    for (let tile: usize = 0; tile < tiles; tile++) {
      const to = y + (tile * ${tokens} * stride + panel * 8) * 4;
      let at = x + tile * words * ${tokens * kind.inputBytes(bits)};
      let inputs = sums + tile * chunks * ${4 * tokens};
      let grid = grids + panel * groups * 64;
      let word = start;
      let u: v128, w: v128, c0: v128, c1: v128, d0: v128, d1: v128, x0: v128, x1: v128;
      while (word < stop) {
        for (const groupEnd = min(word + groupWords * 32, stop); word < groupEnd; ) {
          const begins = word == start;
          let ${slots.flatMap((slot) => halves.map((half) => `s${slot}${half} = ${zero}`)).join(', ')};
          for (const end = min(word + chunkWords * 32, groupEnd); word < end; word += 32) {
            let v0 = v128.load(word), v1 = v128.load(word, 16);
${indent(kind.step(bits, tokens), 12)}
          }
${indent(
  range(tokens).flatMap((token) => [
    `u = v128.load32_splat(inputs, ${4 * token});`,
    `addChunk(to + ${token} * stride * 4, grid, u, ${halves.map((half) => joined(tokens, token, half)).join(', ')}, begins);`,
  ]),
  10,
)}
          inputs += ${4 * tokens};
        }
        grid += 64;
      }
${
  scaled
    ? indent(
        range(tokens).map(
          (token) => `scaleRow(to + ${token} * stride * 4, factors + (tile * ${tokens} + ${token}) * 4);`,
        ),
        6,
      )
    : ''
}
    }
  }
}`;
}

/** Panels are dequantized 256 inputs at a time and multiplied with all rows of a packed A, as \`matmulTile\` does. */
function panelProduct(bits) {
  const perWord = 32 / bits;
  const store = (p) =>
    halves.map((half) => {
      const shifted = p === 0 ? `v${half}` : `i32x4.shr_u(v${half}, ${bits * p})`;
      const code = p === perWord - 1 ? shifted : `v128.and(${shifted}, i32x4.splat(${2 ** bits - 1}))`;
      return `          v128.store(to, f32x4.mul(f32x4.add(f32x4.convert_i32x4_s(${code}), z${half}), g${half}), ${32 * p + 16 * half});`;
    });
  return `
/** ${bits} bits, f32 inputs, many tokens: panels \`[first, last)\`, \`rows\` rows of A in panels of 4. */
export function packedPanels${bits}(
  a: usize, codes: usize, grids: usize, y: usize, rows: usize,
  words: usize, groupWords: usize, groups: usize, stride: usize, scratch: usize, first: usize, last: usize, worker: usize,
): void {
  const own = scratch + worker * DEPTH * 32;
  for (let panel = first; panel < last; panel++) {
    for (let start: usize = 0; start < words; start += DEPTH / ${perWord}) {
      const stop = min(start + DEPTH / ${perWord}, words);
      const depth = (stop - start) * ${perWord};
      let to = own;
      let word = start;
      while (word < stop) {
        const group = word / groupWords;
        const grid = grids + (panel * groups + group) * 64;
        const g0 = v128.load(grid), g1 = v128.load(grid, 16), z0 = v128.load(grid, 32), z1 = v128.load(grid, 48);
        for (const end = min((group + 1) * groupWords, stop); word < end; word++) {
          const from = codes + (panel * words + word) * 32;
          const v0 = v128.load(from), v1 = v128.load(from, 16);
${range(perWord).flatMap(store).join('\n')}
          to += ${32 * perWord};
        }
      }
      for (let row: usize = 0; row < rows; row += MR) {
        micro(a + (rows * start * ${perWord} + row * depth) * 4, own, y + (row * stride + panel * 8) * 4, stride * 4, depth, 0, start > 0);
      }
    }
  }
}`;
}

/** The module's text; it lies beside the other files of `assembly/`. */
export const packedProducts = `import { dot8 } from './dot8';
import { madd } from './madd';
import { DEPTH, MR, micro } from './matmul';

/** Eight outputs of a token: \`y (+)= scale (sum - zero inputs)\`. */
// @ts-expect-error: decorator
@inline
function addChunk(y: usize, grid: usize, inputs: v128, low: v128, high: v128, begins: bool): void {
  low = f32x4.mul(v128.load(grid), madd(v128.load(grid, 32), inputs, low));
  high = f32x4.mul(v128.load(grid, 16), madd(v128.load(grid, 48), inputs, high));
  if (!begins) {
    low = f32x4.add(low, v128.load(y));
    high = f32x4.add(high, v128.load(y, 16));
  }
  v128.store(y, low);
  v128.store(y, high, 16);
}

/** Eight outputs times the scale of their token. */
// @ts-expect-error: decorator
@inline
function scaleRow(y: usize, factor: usize): void {
  const f = v128.load32_splat(factor);
  v128.store(y, f32x4.mul(v128.load(y), f));
  v128.store(y, f32x4.mul(v128.load(y, 16), f), 16);
}
${widths
  .flatMap((bits) => [
    ...[floats, bytes].flatMap((inputs) => [1, 4].map((tokens) => vectorProduct(bits, tokens, inputs))),
    panelProduct(bits),
  ])
  .join('\n')}
`;
