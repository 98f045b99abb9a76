import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { bitStream, integers, normals, relativeError } from '../testing/reference.js';
import { gpuKvAttention, type PackedKv } from './kv-cache-attention.js';

const found = await openDawn();
afterAll(() => found?.close());

const [heads, kvHeads, headDim, capacity, packed] = [6, 2, 32, 150, 141];

/** A cache and its values `[kvHeads, capacity, headDim]` in f64. */
function cache(bits: 2 | 4 | 8, along: 'channels' | 'tokens', size: number): { kv: PackedKv; exact: Float64Array } {
  const codes = integers(kvHeads * capacity * headDim, 2 ** bits);
  const perHead = along === 'channels' ? (capacity * headDim) / size : Math.ceil(capacity / size) * headDim;
  const scales = normals(2 * kvHeads * perHead).map((x, i) =>
    i % 2 ? Math.round(2 ** (bits - 1) + x) : (1 + Math.abs(x)) / 2 ** bits,
  );
  const exact = Float64Array.from(codes, (code, at) => {
    const [channel, position, head] = [
      at % headDim,
      Math.floor(at / headDim) % capacity,
      Math.floor(at / headDim / capacity),
    ];
    const group =
      along === 'channels'
        ? (position * headDim + channel - (channel % size)) / size
        : Math.floor(position / size) * headDim + channel;
    const i = 2 * (head * perHead + group);
    return (code - scales[i + 1]) * scales[i];
  });
  return { kv: { bits, along, size, codes: bitStream(codes, bits), scales }, exact };
}

describe.runIf(found)('attention over a quantized cache', () => {
  if (!found) return;
  const gpu = openGpu(found);
  it.each([
    { name: 'int8 per token', keys: cache(8, 'channels', 32), values: cache(8, 'channels', 32), window: 0, tokens: 1 },
    {
      name: 'KIVI: 2-bit keys per channel, a window',
      keys: cache(2, 'tokens', 32),
      values: cache(2, 'channels', 16),
      window: 9,
      tokens: 1,
    },
    {
      name: '4-bit, several queries',
      keys: cache(4, 'channels', 8),
      values: cache(4, 'channels', 32),
      window: 5,
      tokens: 8,
    },
  ])('$name', async ({ keys, values, window, tokens }) => {
    const queries = normals(tokens * heads * headDim);
    const recent = normals(2 * kvHeads * window * headDim);
    const args = { queries, tokens, heads, kvHeads, headDim, capacity, packed, recent, window };
    const y = await gpuKvAttention(gpu, { ...args, keys: keys.kv, values: values.kv });
    const expected = new Float64Array(y.length);
    const at = (x: Float64Array, part: number, head: number, position: number, c: number) =>
      position < packed
        ? x[(head * capacity + position) * headDim + c]
        : recent[((part * kvHeads + head) * window + position - packed) * headDim + c];
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const kvHead = Math.floor(h / (heads / kvHeads));
        const start = (t * heads + h) * headDim;
        const scores = Array.from({ length: packed + window - tokens + t + 1 }, (_, position) => {
          let sum = 0;
          for (let c = 0; c < headDim; c++) sum += queries[start + c] * at(keys.exact, 0, kvHead, position, c);
          return sum / Math.sqrt(headDim);
        });
        const top = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - top));
        const total = weights.reduce((a, b) => a + b);
        for (const [position, weight] of weights.entries())
          for (let c = 0; c < headDim; c++)
            expected[start + c] += (weight / total) * at(values.exact, 1, kvHead, position, c);
      }
    }
    expect(relativeError(y, expected)).toBeLessThan(1e-5);
    expect(gpu.buffers.bytes).toBe(0);
  });

  it('refuses arrays that do not fit', async () => {
    const { kv } = cache(8, 'channels', 32);
    const args = { queries: normals(heads * headDim), tokens: 1, heads, kvHeads, headDim, capacity, packed };
    const short = { ...kv, scales: kv.scales.subarray(2) };
    await expect(gpuKvAttention(gpu, { ...args, keys: kv, values: short })).rejects.toThrow('scales of values has');
    await expect(gpuKvAttention(gpu, { ...args, packed: 200, keys: kv, values: kv })).rejects.toThrow('200 of 150');
  });
});
