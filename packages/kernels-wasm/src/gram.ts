import type { GatheredGrams, GramArgs, Kernels } from '@q/core';
import { mirrorUpper } from '@q/core/internal';
import { packedAtOnce, panelColumns, panelRows } from './matmul.js';
import type { Pool } from './pool.js';

/**
 * Tokens whose products are summed in f32 before they are added to the sum in f64. As many tokens are packed at a time.
 */
const tokensAtOnce = 512;
/** Panels of rows that a thread takes at a time: the capacity of the buffers of `assembly/gram.ts`. */
const gramPanels = 12;

/** A Gram matrix in f64 in the shared memory: its upper triangle, padded to whole tiles. */
interface Sum {
  readonly values: Float64Array;
  readonly width: number;
  /** Values from one row to the next. Rows that are a power of two apart would evict each other from the cache. */
  readonly stride: number;
}

const strideOf = (width: number) => (Math.ceil(width / panelColumns) + 1) * panelColumns;
const sizeOf = (width: number) => strideOf(width) * Math.ceil(width / panelRows) * panelRows;

/** Bytes that the inputs of one step take in addition to the sum: row-major, and in panels. */
const inputBytes = (tokens: number, width: number) => 4 * Math.min(tokens, tokensAtOnce) * (2 * width + 8) + 1024;

/** Adds `x^T x` for `x` `[tokens, width]`. */
function addTokens(pool: Pool, { values, width, stride }: Sum, x: Float32Array, tokens: number): void {
  const part = Math.min(tokensAtOnce, tokens);
  const rowPanels = Math.ceil(width / panelRows);
  const columnPanels = Math.ceil(width / panelColumns);
  const shared = pool.f32(part * width);
  const packed = pool.f32(columnPanels * panelColumns * part).byteOffset;
  for (let first = 0; first < tokens; first += part) {
    const size = Math.min(part, tokens - first);
    shared.set(x.subarray(first * width, (first + size) * width));
    pool.run('packB', [shared.byteOffset, width, 1, width, size, packed], columnPanels, packedAtOnce);
    pool.run('gramTile', [packed, values.byteOffset, width, stride, size], rowPanels, gramPanels);
  }
}

/** Adds the sum to both triangles of `out`. */
function addSymmetric({ values, width: n, stride }: Sum, out: Float32Array | Float64Array): void {
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) out[i * n + j] += values[i * stride + j];
  mirrorUpper(out, n);
}

/**
 * Gram matrix. f32 sums run over at most 512 tokens, upper triangle only; these are summed in f64, then added to `out`
 * and mirrored.
 */
export function gram(pool: Pool, { x, tokens, width, out }: GramArgs): void {
  pool.reset(8 * sizeOf(width) + inputBytes(tokens, width));
  const sum: Sum = { values: pool.f64(sizeOf(width)).fill(0), width, stride: strideOf(width) };
  addTokens(pool, sum, x, tokens);
  addSymmetric(sum, out);
}

/** Gram matrices whose sums stay in the shared memory from call to call. */
export function gatherGrams(pool: Pool, kernels: Kernels): GatheredGrams {
  const gathered = new Map<GramArgs['out'], { readonly sum: Sum; release(): void }>();
  const release = () => {
    for (const { release } of gathered.values()) release();
    gathered.clear();
  };
  const sumOf = (out: GramArgs['out'], width: number): Sum => {
    const found = gathered.get(out);
    if (found) return found.sum;
    const { bytes, release } = pool.reserve(8 * sizeOf(width));
    const values = new Float64Array(bytes.buffer, bytes.byteOffset, sizeOf(width)).fill(0);
    const sum: Sum = { values, width, stride: strideOf(width) };
    for (let j = 0; j < width; j++) values[j * (sum.stride + 1)] = out[j * (width + 1)];
    gathered.set(out, { sum, release });
    return sum;
  };
  return {
    kept: true,
    kernels: {
      ...kernels,
      async gram({ x, tokens, width, out }) {
        const sum = sumOf(out, width);
        pool.reset(inputBytes(tokens, width));
        addTokens(pool, sum, x, tokens);
        for (let j = 0; j < width; j++) out[j * (width + 1)] = sum.values[j * (sum.stride + 1)];
      },
    },
    async settle() {
      for (const [out, { sum }] of gathered) {
        // The diagonal is in both triangles.
        for (let j = 0; j < sum.width; j++) out[j * (sum.width + 1)] = 0;
        addSymmetric(sum, out);
      }
      release();
    },
    release,
  };
}
