import {
  checkPackedInput,
  checkPackedInt8Input,
  checkPackedWeight,
  type Int8Input,
  type PackedLinear,
  type PackedWeight,
  QuantError,
} from '@q/core';
import type { Heap } from '../forward/heap.js';
import { panelColumns, panelRows, tilePanels } from '../matmul.js';
import type { Pool } from '../pool.js';

/** Tokens up to which codes are unpacked in registers for f32 inputs; more are multiplied with dequantized panels. */
const fewTokens = 8;
/** Tokens that share an unpacked code. */
const together = 4;
/** Inputs whose f32 products are summed in a register at most: parts of larger groups go on their own. */
const floatChunk = 128;
/** Inputs whose int8 products are: pairs of `128 (2^bits - 1)` fit 16 bits so often. */
const intChunk = { 4: 32, 2: 128 } as const;
/** Inputs that are dequantized at a time, `DEPTH` of `assembly/matmul.ts`. */
const panelDepth = 256;

/**
 * A weight in panels of 8 outputs: for each word of the inputs the words of 8 outputs side by side, so that a product reads
 * memory in order; beside them 8 scales and 8 negated zero points for each group. Outputs beyond the last are zero.
 */
function storePanels(pool: Pool, heap: Heap, weight: PackedWeight, groups: number) {
  const { outFeatures, inFeatures, bits, scales, zeros } = weight;
  const panels = Math.ceil(outFeatures / panelColumns);
  const words = (inFeatures * bits) / 32;
  const bytes = 4 * panels * panelColumns * (words + 2 * groups);
  const address = heap.allocate(bytes);
  const gridsAt = address + 4 * panels * panelColumns * words;
  const source = new Uint32Array(weight.codes.buffer, weight.codes.byteOffset, weight.codes.length);
  const codes = new Uint32Array(pool.memory.buffer, address, panels * panelColumns * words).fill(0);
  const grids = new Float32Array(pool.memory.buffer, gridsAt, 2 * panels * panelColumns * groups).fill(0);
  for (let panel = 0; panel < panels; panel++) {
    const first = panel * panelColumns;
    const width = Math.min(panelColumns, outFeatures - first);
    for (let word = 0, to = first * words; word < words; word++, to += panelColumns) {
      const from = word * outFeatures + first;
      for (let j = 0; j < width; j++) codes[to + j] = source[from + j];
    }
    for (let group = 0, to = 2 * first * groups; group < groups; group++, to += 2 * panelColumns) {
      const from = group * outFeatures + first;
      for (let j = 0; j < width; j++) {
        grids[to + j] = scales[from + j];
        grids[to + panelColumns + j] = -zeros[from + j];
      }
    }
  }
  return { address, gridsAt, bytes, panels, words };
}

/** A packed weight whose products do not wait for anything. */
export interface PooledPackedLinear extends PackedLinear {
  /** `multiply`, at once. */
  product(x: Float32Array, tokens: number): Float32Array;
  /** Adds output `index` of the dequantized weight, `[in]`, to `sum`. */
  addRow(index: number, sum: Float32Array): void;
}

/** Takes a weight into the pool's memory, where it stays packed. */
export function loadPackedLinear(pool: Pool, heap: Heap, weight: PackedWeight): PooledPackedLinear {
  const groups = checkPackedWeight(weight);
  const { outFeatures, inFeatures, bits } = weight;
  const { address, gridsAt, bytes, panels, words } = storePanels(pool, heap, weight, groups.count);
  const groupWords = (groups.size * bits) / 32;
  const stride = panels * panelColumns;
  let disposed = false;

  /** Tiles of panels small enough that all threads have some, large enough that no two write the same cache line often. */
  const grain = Math.max(2, Math.min(16, Math.ceil(panels / (8 * pool.threads))));

  /** Runs `compute` with `sizes` bytes of memory and reads `tokens` rows of the last of them. */
  function withRoom(tokens: number, sizes: readonly number[], compute: (...addresses: number[]) => void): Float32Array {
    if (disposed) throw new QuantError('this packed weight is disposed: load it again');
    if (tokens === 0) return new Float32Array(0);
    const addresses: number[] = [];
    try {
      for (const size of sizes) addresses.push(heap.allocate(size));
      compute(...addresses);
      const y = new Float32Array(pool.memory.buffer, addresses[sizes.length - 1], tokens * stride);
      const out = new Float32Array(tokens * outFeatures);
      if (stride === outFeatures) out.set(y);
      else
        for (let token = 0; token < tokens; token++)
          out.set(y.subarray(token * stride, token * stride + outFeatures), token * outFeatures);
      return out;
    } finally {
      for (const at of addresses) heap.free(at);
    }
  }

  const whole = groups.count - 1;
  const chunks = (inputs: number) => Math.ceil(inputs / Math.min(groups.size, floatChunk));
  /** Chunks of f32 inputs: none is of two groups. */
  const floatChunks = whole * chunks(groups.size) + chunks(inFeatures - whole * groups.size);

  /** What all kernels that sum up in chunks know of the weight, and where the outputs go. */
  const weightOf = (chunk: number, y: number) => [
    ...[address, gridsAt, y, words, groupWords, groups.count],
    ...[(Math.min(groups.size, chunk) * bits) / 32, stride],
  ];

  function few(x: Float32Array, tokens: number): Float32Array {
    const side = tokens === 1 ? 1 : together;
    const tiles = Math.ceil(tokens / side);
    const rows = tiles * side;
    const sizes = [x.byteLength, 4 * rows * inFeatures, 4 * rows * floatChunks, 4 * rows * stride];
    return withRoom(tokens, sizes, (input, arranged, sums, y) => {
      new Float32Array(pool.memory.buffer, input, x.length).set(x);
      pool.run(
        'arrangeFloats',
        [input, tokens, inFeatures, side, groups.size, Math.min(groups.size, floatChunk), floatChunks, arranged, sums],
        tiles,
        tiles,
      );
      const args = [arranged, sums, floatChunks, 0, ...weightOf(floatChunk, y), tiles];
      pool.run(`packedVector${bits}x${side}`, args, panels, grain);
    });
  }

  function many(x: Float32Array, tokens: number): Float32Array {
    const rowPanels = Math.ceil(tokens / panelRows);
    const rows = rowPanels * panelRows;
    const scratchBytes = 4 * grain * panelDepth * panelColumns;
    const sizes = [x.byteLength, 4 * rows * inFeatures, pool.threads * scratchBytes, 4 * rows * stride];
    return withRoom(tokens, sizes, (input, a, scratch, y) => {
      new Float32Array(pool.memory.buffer, input, x.length).set(x);
      pool.run('packA', [input, inFeatures, 1, tokens, inFeatures, a], rowPanels, tilePanels);
      pool.run(
        `packedPanels${bits}`,
        [
          ...[a, address, gridsAt, y, rows, words, groupWords, groups.count, stride],
          ...[panelRows * tilePanels, scratch, scratchBytes],
        ],
        panels,
        grain,
      );
    });
  }

  function int8({ tokens, codes, scales }: Int8Input): Float32Array {
    const side = tokens === 1 ? 1 : together;
    const tiles = Math.ceil(tokens / side);
    const rows = tiles * side;
    const unpackedBytes = tokens > fewTokens ? panelColumns * inFeatures * pool.threads : 0;
    const sizes = [
      codes.length,
      rows * inFeatures,
      4 * rows * groups.count,
      4 * rows,
      unpackedBytes,
      4 * rows * stride,
    ];
    return withRoom(tokens, sizes, (from, arranged, sums, factors, scratch, y) => {
      new Int8Array(pool.memory.buffer, from, codes.length).set(codes);
      const factor = new Float32Array(pool.memory.buffer, factors, rows).fill(0);
      if (scales.length === 1) factor.fill(scales[0], 0, tokens);
      else factor.set(scales);
      pool.run(
        'arrangeBytes',
        [from, tokens, inFeatures, bits, side, groups.size, groups.count, arranged, sums],
        tiles,
        8,
      );
      const weights = weightOf(intChunk[bits], y);
      if (tokens > fewTokens) {
        const args = [arranged, sums, factors, ...weights, tiles, scratch];
        pool.run(`packedInt8Panels${bits}`, args, panels, grain);
      } else {
        const args = [arranged, sums, groups.count, factors, ...weights, tiles];
        pool.run(`packedInt8Vector${bits}x${side}`, args, panels, grain);
      }
    });
  }

  function product(x: Float32Array, tokens: number): Float32Array {
    checkPackedInput(x, tokens, inFeatures);
    return tokens <= fewTokens ? few(x, tokens) : many(x, tokens);
  }

  function addRow(index: number, sum: Float32Array): void {
    const [first, lane] = [index - (index % panelColumns), index % panelColumns];
    const stored = new Uint32Array(pool.memory.buffer, address + 4 * first * words, words * panelColumns);
    const grids = new Float32Array(pool.memory.buffer, gridsAt + 8 * first * groups.count, 16 * groups.count);
    const perWord = 32 / bits;
    const mask = 2 ** bits - 1;
    for (let i = 0; i < inFeatures; i++) {
      const grid = 2 * panelColumns * Math.floor(i / groups.size) + lane;
      const code = (stored[Math.floor(i / perWord) * panelColumns + lane] >>> (bits * (i % perWord))) & mask;
      // The negated zero point stands behind the eight scales.
      sum[i] += (code + grids[grid + panelColumns]) * grids[grid];
    }
  }

  return {
    outFeatures,
    inFeatures,
    bytes,
    product,
    addRow,
    multiply: async (x, tokens) => product(x, tokens),
    async multiplyInt8(input) {
      checkPackedInt8Input(input, inFeatures);
      return int8(input);
    },
    dispose() {
      if (!disposed) heap.free(address);
      disposed = true;
    },
  };
}
