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
import { createScratch } from './scratch.js';

/**
 * For f32 inputs of at most this many tokens, codes are unpacked in registers; more tokens are multiplied with
 * dequantized panels.
 */
const fewTokens = 8;
/** Tokens that share an unpacked code. */
const together = 4;
/** The most inputs whose f32 products are summed in one register. Larger groups are split into parts. */
const floatChunk = 128;
/**
 * The most inputs whose int8 products are summed in 16 bits: a product is at most `128 (2^bits - 1)`,
 * so the sums do not overflow.
 */
const intChunk = { 4: 32, 2: 128 } as const;
/** Widths of codes for which products of int8 inputs exist. */
type Int8Bits = keyof typeof intChunk;
/** Inputs that are dequantized at a time, `DEPTH` of `assembly/matmul.ts`. */
const panelDepth = 256;

/** A packed weight in the pool's memory. */
interface StoredPanels {
  /** Address of all arrays; the codes are first. */
  readonly address: number;
  readonly scalesAt: number;
  readonly zerosAt: number;
  /** Bytes from one group's zero points to the next group's; 0 if all groups have the same zero points. */
  readonly zeroStep: number;
  readonly bytes: number;
  readonly panels: number;
  /** Words of one output's codes. */
  readonly words: number;
}

/**
 * Stores a weight in panels of 8 outputs. For each word of the inputs, the words of 8 outputs are adjacent, so a
 * product reads memory in order. After the codes come 8 scales for each panel and group, and 8 negated zero points.
 * Equal zero points are stored once, because for groups of 32 codes of 4 bits they would take a sixth of the memory.
 * Outputs beyond the last are zero.
 */
function storePanels(pool: Pool, heap: Heap, weight: PackedWeight, groups: number): StoredPanels {
  const { outFeatures, inFeatures, bits, scales, zeros } = weight;
  const panels = Math.ceil(outFeatures / panelColumns);
  const stride = panels * panelColumns;
  const words = (inFeatures * bits) / 32;
  const same = zeros.every((zero) => zero === zeros[0]);
  const sizes = { codes: 4 * stride * words, scales: 4 * stride * groups, zeros: same ? 32 : 4 * stride * groups };
  const bytes = sizes.codes + sizes.scales + sizes.zeros;
  const address = heap.allocate(bytes);
  const scalesAt = address + sizes.codes;
  const zerosAt = scalesAt + sizes.scales;
  const codes = new Uint32Array(pool.memory.buffer, address, sizes.codes / 4).fill(0);
  if (weight.codes instanceof Uint8Array) bytesInPanels(weight.codes, weight, codes);
  else inPanels(weight.codes, words, outFeatures, codes);
  inPanels(scales, groups, outFeatures, new Float32Array(pool.memory.buffer, scalesAt, sizes.scales / 4).fill(0));
  const negated = new Float32Array(pool.memory.buffer, zerosAt, sizes.zeros / 4);
  if (same) negated.fill(-zeros[0]);
  else {
    inPanels(zeros, groups, outFeatures, negated.fill(0));
    for (let i = 0; i < negated.length; i++) negated[i] = -negated[i];
  }
  return { address, scalesAt, zerosAt, zeroStep: same ? 0 : 32, bytes, panels, words };
}

/** Writes `[rows, columns]` as `[panels][rows][8]`. */
function inPanels(
  from: Int32Array | Uint32Array | Float32Array,
  rows: number,
  columns: number,
  to: Uint32Array | Float32Array,
): void {
  for (let first = 0; first < columns; first += panelColumns) {
    const width = Math.min(panelColumns, columns - first);
    for (let row = 0, at = first * rows; row < rows; row++, at += panelColumns) {
      const begin = row * columns + first;
      for (let j = 0; j < width; j++) to[at + j] = from[begin + j];
    }
  }
}

/** Packs codes `[out, in]` of one byte each into words `[panels][words][8]`, with the first code in the lowest bits. */
function bytesInPanels(
  from: Uint8Array,
  { outFeatures, inFeatures, bits }: Omit<PackedWeight, 'codes'>,
  to: Uint32Array,
): void {
  const perWord = 32 / bits;
  const words = inFeatures / perWord;
  for (let row = 0; row < outFeatures; row++) {
    const lane = row % panelColumns;
    let at = (row - lane) * words + lane;
    for (let i = row * inFeatures, end = i + inFeatures; i < end; at += panelColumns) {
      let word = 0;
      for (let bit = 0; bit < 32; bit += bits) word |= from[i++] << bit;
      to[at] = word;
    }
  }
}

/** A packed weight whose products run synchronously. */
export interface PooledPackedLinear extends PackedLinear {
  /**
   * Multiplies inputs `[tokens, in]` at address `x` of the pool's memory, and writes outputs `[tokens, out]` at `out`.
   */
  product(x: number, tokens: number, out: number): void;
  /** Adds output `index` of the dequantized weight, `[in]`, to `sum`. */
  addRow(index: number, sum: Float32Array): void;
}

/** Copies a weight into the pool's memory, where it stays packed. */
export function loadPackedLinear(pool: Pool, heap: Heap, weight: PackedWeight): PooledPackedLinear {
  const groups = checkPackedWeight(weight);
  const { outFeatures, inFeatures, bits } = weight;
  const { address, scalesAt, zerosAt, zeroStep, bytes, panels, words } = storePanels(pool, heap, weight, groups.count);
  const groupWords = (groups.size * bits) / 32;
  const stride = panels * panelColumns;
  let disposed = false;

  /**
   * Tiles of panels. They are small enough that all threads have some, and large enough that two threads rarely write
   * to the same cache line.
   */
  const grain = Math.max(2, Math.min(16, Math.ceil(panels / (8 * pool.threads))));

  const scratch = createScratch(pool, heap);
  const floatsAt = scratch.floats;

  /** Runs `compute` with the addresses of buffers of `sizes` bytes. */
  function withRoom(sizes: readonly number[], compute: (...addresses: number[]) => void): void {
    if (disposed) throw new QuantError('this packed weight is disposed: load it again');
    scratch.during(sizes, compute);
  }

  const outputs = (tokens: number, rows: number, out: number, compute: (y: number) => void) =>
    scratch.outputs({ tokens, width: outFeatures, rows, stride }, out, compute);

  const whole = groups.count - 1;
  const chunks = (inputs: number) => Math.ceil(inputs / Math.min(groups.size, floatChunk));
  /** Number of chunks of f32 inputs. No chunk has inputs of two groups. */
  const floatChunks = whole * chunks(groups.size) + chunks(inFeatures - whole * groups.size);

  /** Arguments of all kernels that sum in chunks: the weight, and the address of the outputs. */
  const weightOf = (chunk: number, y: number) => [
    ...[address, scalesAt, zerosAt, zeroStep, y, words, groupWords, groups.count],
    ...[(Math.min(groups.size, chunk) * bits) / 32, stride],
  ];

  function few(x: number, tokens: number, out: number): void {
    const side = tokens === 1 ? 1 : together;
    const tiles = Math.ceil(tokens / side);
    const rows = tiles * side;
    withRoom([4 * rows * inFeatures, 4 * rows * floatChunks], (arranged, sums) => {
      const chunk = Math.min(groups.size, floatChunk);
      const args = [x, tokens, inFeatures, bits, side, groups.size, chunk, floatChunks, arranged, sums];
      pool.run('arrangeFloats', args, tiles, tiles);
      outputs(tokens, rows, out, (y) => {
        const args = [arranged, sums, floatChunks, 0, ...weightOf(floatChunk, y), tiles];
        pool.run(`packedVector${bits}x${side}`, args, panels, grain);
      });
    });
  }

  function many(x: number, tokens: number, out: number): void {
    const rowPanels = Math.ceil(tokens / panelRows);
    const rows = rowPanels * panelRows;
    const scratchBytes = 4 * grain * panelDepth * panelColumns;
    withRoom([4 * rows * inFeatures, pool.threads * scratchBytes], (a, decoded) => {
      pool.run('packA', [x, inFeatures, 1, tokens, inFeatures, a], rowPanels, tilePanels);
      outputs(tokens, rows, out, (y) => {
        pool.run(
          `packedPanels${bits}`,
          [
            ...[a, address, scalesAt, zerosAt, zeroStep, y, rows, words, groupWords, groups.count, stride],
            ...[panelRows * tilePanels, decoded, scratchBytes],
          ],
          panels,
          grain,
        );
      });
    });
  }

  function int8(bits: Int8Bits, { tokens, codes, scales }: Int8Input): Float32Array {
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
      4 * tokens * outFeatures,
    ];
    let result = new Float32Array(0);
    withRoom(sizes, (...addresses) => {
      const [from, arranged, sums, factors, unpacked, out] = addresses;
      new Int8Array(pool.memory.buffer, from, codes.length).set(codes);
      const factor = floatsAt(factors, rows).fill(0);
      if (scales.length === 1) factor.fill(scales[0], 0, tokens);
      else factor.set(scales);
      pool.run(
        'arrangeBytes',
        [from, tokens, inFeatures, bits, side, groups.size, groups.count, arranged, sums],
        tiles,
        8,
      );
      outputs(tokens, rows, out, (y) => {
        const weights = weightOf(intChunk[bits], y);
        if (tokens > fewTokens) {
          const args = [arranged, sums, factors, ...weights, tiles, unpacked];
          pool.run(`packedInt8Panels${bits}`, args, panels, grain);
        } else {
          const args = [arranged, sums, groups.count, factors, ...weights, tiles];
          pool.run(`packedInt8Vector${bits}x${side}`, args, panels, grain);
        }
      });
      result = floatsAt(out, tokens * outFeatures).slice();
    });
    return result;
  }

  function product(x: number, tokens: number, out: number): void {
    if (tokens <= fewTokens) few(x, tokens, out);
    else many(x, tokens, out);
  }

  function multiply(x: Float32Array, tokens: number): Float32Array {
    checkPackedInput(x, tokens, inFeatures);
    let result = new Float32Array(0);
    withRoom([x.byteLength, 4 * tokens * outFeatures], (input, out) => {
      floatsAt(input, x.length).set(x);
      if (tokens > 0) product(input, tokens, out);
      result = floatsAt(out, tokens * outFeatures).slice();
    });
    return result;
  }

  function addRow(index: number, sum: Float32Array): void {
    const [panel, lane] = [Math.floor(index / panelColumns), index % panelColumns];
    const first = panel * panelColumns;
    const stored = new Uint32Array(pool.memory.buffer, address + 4 * first * words, words * panelColumns);
    const scales = floatsAt(scalesAt + 4 * first * groups.count, panelColumns * groups.count);
    const negated = floatsAt(
      zerosAt + panel * groups.count * zeroStep,
      (zeroStep / 4) * (groups.count - 1) + panelColumns,
    );
    const perWord = 32 / bits;
    const mask = 2 ** bits - 1;
    for (let i = 0; i < inFeatures; i++) {
      const group = Math.floor(i / groups.size);
      const code = (stored[Math.floor(i / perWord) * panelColumns + lane] >>> (bits * (i % perWord))) & mask;
      sum[i] += (code + negated[(group * zeroStep) / 4 + lane]) * scales[panelColumns * group + lane];
    }
  }

  return {
    outFeatures,
    inFeatures,
    bytes,
    product,
    addRow,
    multiply: async (x, tokens) => multiply(x, tokens),
    async multiplyInt8(input) {
      checkPackedInt8Input(input, { inFeatures, bits });
      return int8(bits as Int8Bits, input);
    },
    dispose() {
      if (!disposed) heap.free(address);
      disposed = true;
    },
  };
}
