/**
 * Writes the AssemblyScript of products with packed weights: a separate function for every width of codes, kind of
 * inputs and number of tokens, so every mask, shift and offset is a constant. Code that is the same for all of them is
 * in `assembly/packed-sums.ts`.
 *
 * A panel is 8 outputs. For each word of the inputs it has 8 adjacent words, so a vector has 4 outputs, and lanes are
 * outputs from the first operation to the last. `scales` has 8 scales for each panel and group. `zeros` has 8 negated
 * zero points for each panel and group too (`zeroStep` 32 bytes), or 8 for all of them (`zeroStep` 0).
 */

const widths = [8, 4, 2];
/**
 * Widths with products of int8 inputs. 8 bits is missing: pairs of products of a code and an input do not fit 16 bits.
 */
const int8Widths = [4, 2];
const range = (count) => Array.from({ length: count }, (_, i) => i);
const hex = (value) => `0x${(value >>> 0).toString(16)}`;
/** Both halves of a panel. */
const halves = [0, 1];

/** Sums of a tile: `s{slot}{half}`. */
const slots = range(4);
const indent = (lines, depth) => lines.map((line) => `${' '.repeat(depth)}${line}`).join('\n');
/**
 * One of the 4 values of a vector in all lanes. A shuffle avoids loads: V8 moves loads to the front of a block, and
 * many splats would spill.
 */
const lane = (vector, i) => `v128.shuffle<i32>(${vector}, ${vector}, ${i}, ${i}, ${i}, ${i})`;

/** Codes j, j + planes, ... of 4 outputs, as bytes. */
const plane = (bits, j, v) =>
  `v128.and(${j === 0 ? v : `i32x4.shr_u(${v}, ${bits * j})`}, i32x4.splat(${hex((2 ** bits - 1) * 0x01010101)}))`;

/** Adds the sums of all tokens to their outputs. */
const addSums = (tokens, begins, sum) => [
  ...range(tokens).flatMap((token) => [
    `u = v128.load32_splat(sum, ${4 * token});`,
    `addSum(to + ${token} * stride * 4, scale, zero, u, ${halves.map((half) => sum(token, half)).join(', ')}, ${begins});`,
  ]),
  `sum += ${4 * tokens};`,
];

/** Masks of the codes of a word at their positions, except the last one. */
const codeMasks = (bits) => {
  const masks = range(32 / bits - 1).map((p) => hex((2 ** bits - 1) * 2 ** (bits * p)));
  return `const codeMasks${bits} = memory.data<i32>([${masks.flatMap((mask) => Array(4).fill(mask)).join(', ')}], 16);`;
};

/**
 * f32 inputs: codes are masked and converted. A vector has 4 inputs: of one token, or of 4 tokens.
 *
 * A single token's codes are converted at their positions in the word, as `2^(bits i) code`, which f32 holds exactly.
 * The token's inputs are divided by these powers (`arrangeFloats`). So only the last code is shifted, because it
 * reaches the sign. Each output has 2 sums, used in turn: with 4, sums and masks were more than 16 registers, and V8
 * kept the sums in memory. Masks are loaded, because V8 makes a constant again with three instructions in each loop's
 * first iteration.
 *
 * For 4 tokens a loop runs over the word: if it were unrolled, all of its inputs would be loaded first, and spill.
 */
const floats = {
  name: '',
  inputs: 'f32',
  /** Bytes of a token's inputs for a word of codes. */
  inputBytes: (bits) => 4 * (32 / bits),
  zero: 'f32x4.splat(0)',
  begin: (bits, tokens) =>
    tokens === 1 ? range(32 / bits - 1).map((p) => `const m${p} = v128.load(codeMasks${bits}, ${16 * p});`) : [],
  step(bits, tokens) {
    return tokens === 1 ? this.inPlace(bits) : this.shifted(bits);
  },
  inPlace(bits) {
    const last = 32 / bits - 1;
    const code = (p, v) =>
      `f32x4.convert_i32x4_s(${p === last ? `i32x4.shr_u(${v}, ${32 - bits})` : `v128.and(${v}, m${p})`})`;
    return [
      ...range(32 / bits).flatMap((p) => [
        ...(p % 4 === 0 ? [`x = v128.load(at, ${4 * p});`] : []),
        `u = ${lane('x', p % 4)};`,
        ...halves.map((half) => `s${p % 2}${half} = madd(u, ${code(p, `v${half}`)}, s${p % 2}${half});`),
      ]),
      `at += ${this.inputBytes(bits)};`,
    ];
  },
  shifted(bits) {
    const code = (v) => `f32x4.convert_i32x4_s(v128.and(${v}, i32x4.splat(${2 ** bits - 1})))`;
    return [
      `for (const next = at + ${4 * this.inputBytes(bits)}; at < next; at += 16) {`,
      '  x = v128.load(at);',
      ...halves.map((half) => `  c${half} = ${code(`v${half}`)};`),
      ...slots.flatMap((slot) => [
        `  u = ${lane('x', slot)};`,
        ...halves.map((half) => `  s${slot}${half} = madd(u, c${half}, s${slot}${half});`),
      ]),
      ...halves.map((half) => `  v${half} = i32x4.shr_u(v${half}, ${bits});`),
      '}',
    ];
  },
  afterChunk: (tokens) =>
    addSums(tokens, 'chunk == start', (token, half) =>
      tokens === 1 ? `f32x4.add(s0${half}, s1${half})` : `s${token}${half}`,
    ),
  afterGroup: () => [],
  afterTile: () => [],
};

/**
 * int8 inputs: a plane of a word is 4 codes an output, multiplied with 4 inputs at once. Pairs are summed in 16 bits
 * for a chunk, whose length is limited by these bits (8 products of 4-bit codes). Then they are added to sums of the
 * group in 32 bits, in memory.
 */
const bytes = {
  name: 'Int8',
  begin: () => [],
  inputs: 'int8',
  inputBytes: (bits) => 32 / bits,
  zero: 'i16x8.splat(0)',
  step(bits, tokens) {
    return [
      ...range(8 / bits).flatMap((j) => [
        ...halves.map((half) => `c${half} = ${plane(bits, j, `v${half}`)};`),
        tokens === 1 ? `u = v128.load32_splat(at, ${4 * j});` : `x = v128.load(at, ${16 * j});`,
        ...range(tokens).flatMap((token) => [
          ...(tokens === 1 ? [] : [`u = ${lane('x', token)};`]),
          ...halves.map((half) => `s${token}${half} = i16x8.add(s${token}${half}, dot8(u, c${half}));`),
        ]),
      ]),
      `at += ${tokens * this.inputBytes(bits)};`,
    ];
  },
  afterChunk: (tokens) =>
    range(tokens).flatMap((token) =>
      halves.map((half) => `widen(own + ${32 * token + 16 * half}, s${token}${half}, chunk == group);`),
    ),
  afterGroup: (tokens) =>
    addSums(
      tokens,
      'group == start',
      (token, half) => `f32x4.convert_i32x4_s(v128.load(own, ${32 * token + 16 * half}))`,
    ),
  afterTile: (tokens) =>
    range(tokens).map((token) => `scaleRow(to + ${token} * stride * 4, factors + (tile * ${tokens} + ${token}) * 4);`),
};

/**
 * Multiplies panels with `tokens` tokens at a time. Sums stay in registers for a chunk, which is a group or a part of
 * one.
 */
function vectorProduct(bits, tokens, kind) {
  return `
/**
 * ${bits} bits, ${kind.inputs} inputs, ${tokens} token${tokens > 1 ? 's' : ''} at a time: panels \`[first, last)\`, all
 * \`tiles\` of tokens.
 */
export function packed${kind.name}Vector${bits}x${tokens}(
  inputs: usize, sums: usize, sumsPerToken: usize, factors: usize, codes: usize, scales: usize, zeros: usize, zeroStep: usize, y: usize,
  words: usize, groupWords: usize, groups: usize, chunkWords: usize, stride: usize, tiles: usize, first: usize, last: usize, worker: usize,
): void {
  const own = tileSums + worker * 128;
${indent(kind.begin(bits, tokens), 2)}
  for (let panel = first; panel < last; panel++) {
    const start = codes + panel * words * 32;
    const stop = start + words * 32;
    for (let tile: usize = 0; tile < tiles; tile++) {
      const to = y + (tile * ${tokens} * stride + panel * 8) * 4;
      let at = inputs + tile * words * ${tokens * kind.inputBytes(bits)};
      let sum = sums + tile * sumsPerToken * ${4 * tokens};
      let scale = scales + panel * groups * 32;
      let zero = zeros + panel * groups * zeroStep;
      let word = start;
      let u: v128, x: v128, c0: v128, c1: v128;
      while (word < stop) {
        const group = word;
        const groupEnd = min(group + groupWords * 32, stop);
        while (word < groupEnd) {
          const chunk = word;
          const end = min(chunk + chunkWords * 32, groupEnd);
          let ${slots.flatMap((slot) => halves.map((half) => `s${slot}${half} = ${kind.zero}`)).join(', ')};
          for (; word < end; word += 32) {
            let v0 = v128.load(word), v1 = v128.load(word, 16);
${indent(kind.step(bits, tokens), 12)}
          }
${indent(kind.afterChunk(tokens), 10)}
        }
${indent(kind.afterGroup(tokens), 8)}
        scale += 32;
        zero += zeroStep;
      }
${indent(kind.afterTile(tokens), 6)}
    }
  }
}`;
}

/**
 * Unpacks panels to bytes once, for all tiles of 4 tokens. Each step takes 4 inputs and has as many operands as
 * `micro`.
 */
function int8PanelProduct(bits) {
  const planes = 8 / bits;
  return `
/**
 * ${bits} bits, int8 inputs, many tokens: panels \`[first, last)\`, all \`tiles\` of 4 tokens; \`scratch\`:
 * ${32 * planes} bytes a word for each worker.
 */
export function packedInt8Panels${bits}(
  inputs: usize, sums: usize, factors: usize, codes: usize, scales: usize, zeros: usize, zeroStep: usize, y: usize,
  words: usize, groupWords: usize, groups: usize, chunkWords: usize, stride: usize, tiles: usize, scratch: usize, first: usize, last: usize, worker: usize,
): void {
  const own = tileSums + worker * 128;
  const start = scratch + worker * words * ${32 * planes};
  const stop = start + words * ${32 * planes};
  for (let panel = first; panel < last; panel++) {
    let from = codes + panel * words * 32;
    for (let to = start; to < stop; to += ${32 * planes}) {
      const v0 = v128.load(from), v1 = v128.load(from, 16);
${indent(
  range(planes).flatMap((j) =>
    halves.map((half) => `v128.store(to, ${plane(bits, j, `v${half}`)}, ${32 * j + 16 * half});`),
  ),
  6,
)}
      from += 32;
    }
    let at = inputs;
    let sum = sums;
    for (let tile: usize = 0; tile < tiles; tile++) {
      const to = y + (tile * 4 * stride + panel * 8) * 4;
      let scale = scales + panel * groups * 32;
      let zero = zeros + panel * groups * zeroStep;
      let code = start;
      let u: v128;
      while (code < stop) {
        const group = code;
        const groupEnd = min(group + groupWords * ${32 * planes}, stop);
        while (code < groupEnd) {
          const chunk = code;
          const end = min(chunk + chunkWords * ${32 * planes}, groupEnd);
          let ${slots.flatMap((slot) => halves.map((half) => `s${slot}${half} = ${bytes.zero}`)).join(', ')};
          for (; code < end; code += 32) {
            const c0 = v128.load(code), c1 = v128.load(code, 16);
${indent(
  slots.flatMap((slot) => [
    `u = v128.load32_splat(at, ${4 * slot});`,
    ...halves.map((half) => `s${slot}${half} = i16x8.add(s${slot}${half}, dot8(u, c${half}));`),
  ]),
  12,
)}
            at += 16;
          }
${indent(bytes.afterChunk(4), 10)}
        }
${indent(bytes.afterGroup(4), 8)}
        scale += 32;
        zero += zeroStep;
      }
${indent(bytes.afterTile(4), 6)}
    }
  }
}`;
}

/**
 * Dequantizes panels 256 inputs at a time, all panels of a call, and multiplies them with all rows of a packed A as
 * `matmulTile` does. 96 rows are multiplied at a time, so the rows come from the second-level cache for every panel but
 * the first.
 */
function panelProduct(bits) {
  const perWord = 32 / bits;
  const store = (p) =>
    halves.map((half) => {
      const shifted = p === 0 ? `v${half}` : `i32x4.shr_u(v${half}, ${bits * p})`;
      const code = p === perWord - 1 ? shifted : `v128.and(${shifted}, i32x4.splat(${2 ** bits - 1}))`;
      return `v128.store(to, f32x4.mul(f32x4.add(f32x4.convert_i32x4_s(${code}), z${half}), g${half}), ${32 * p + 16 * half});`;
    });
  return `
/** ${bits} bits: words \`[start, stop)\` of a panel to f32, \`[inputs][8]\`. */
function dequantizePanel${bits}(codes: usize, scales: usize, zeros: usize, zeroStep: usize, start: usize, stop: usize, groupWords: usize, to: usize): void {
  let word = start;
  while (word < stop) {
    const group = word / groupWords;
    const scale = scales + group * 32, zero = zeros + group * zeroStep;
    const g0 = v128.load(scale), g1 = v128.load(scale, 16), z0 = v128.load(zero), z1 = v128.load(zero, 16);
    for (const end = min((group + 1) * groupWords, stop); word < end; word++) {
      const from = codes + word * 32;
      const v0 = v128.load(from), v1 = v128.load(from, 16);
${indent(range(perWord).flatMap(store), 6)}
      to += ${32 * perWord};
    }
  }
}

/**
 * ${bits} bits, f32 inputs, many tokens: panels \`[first, last)\`, \`rows\` rows of A in panels of 4; \`scratch\`:
 * \`scratchBytes\` for each worker.
 */
export function packedPanels${bits}(
  a: usize, codes: usize, scales: usize, zeros: usize, zeroStep: usize, y: usize, rows: usize, words: usize, groupWords: usize, groups: usize, stride: usize,
  rowsAtOnce: usize, scratch: usize, scratchBytes: usize, first: usize, last: usize, worker: usize,
): void {
  const own = scratch + worker * scratchBytes;
  for (let start: usize = 0; start < words; start += DEPTH / ${perWord}) {
    const stop = min(start + DEPTH / ${perWord}, words);
    const depth = (stop - start) * ${perWord};
    for (let panel = first; panel < last; panel++) {
      const to = own + (panel - first) * DEPTH * 32;
      dequantizePanel${bits}(codes + panel * words * 32, scales + panel * groups * 32, zeros + panel * groups * zeroStep, zeroStep, start, stop, groupWords, to);
    }
    for (let top: usize = 0; top < rows; top += rowsAtOnce) {
      const bottom = min(top + rowsAtOnce, rows);
      for (let panel = first; panel < last; panel++) {
        const b = own + (panel - first) * DEPTH * 32;
        for (let row = top; row < bottom; row += MR) {
          const from = a + (rows * start * ${perWord} + row * depth) * 4;
          micro(from, b, y + (row * stride + panel * 8) * 4, stride * 4, depth, 0, start > 0);
        }
      }
    }
  }
}`;
}

/** The module's text. It is written next to the other files of `assembly/`. */
export const packedProducts = `import { DEPTH, MR, micro } from './matmul';
import { addSum, dot8, scaleRow, tileSums, widen } from './packed-sums';
import { madd } from './madd';
${widths.map(codeMasks).join('\n')}
${widths
  .flatMap((bits) => [...[1, 4].map((tokens) => vectorProduct(bits, tokens, floats)), panelProduct(bits)])
  .join('\n')}
${int8Widths
  .flatMap((bits) => [...[1, 4].map((tokens) => vectorProduct(bits, tokens, bytes)), int8PanelProduct(bits)])
  .join('\n')}
`;
