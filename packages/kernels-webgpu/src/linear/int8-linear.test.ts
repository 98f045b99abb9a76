import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { normals } from '../testing/reference.js';
import { createInt8Linear } from './int8-linear.js';

const found = await openDawn();
afterAll(() => found?.close());

const even = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

describe.runIf(found).each([
  { variant: 'dot4I8Packed', without: [] },
  { variant: 'plain', without: ['packedDot'] as const },
])('int8 linear, $variant', ({ without }) => {
  if (!found) return;
  const gpu = openGpu({ ...found, without });
  const [tokens, n, k] = [9, 21, 70];
  const x = normals(tokens * k);
  for (let t = 0; t < tokens; t += 2) x[t * k + 33] = 20 + t;
  x[3 * k + 68] = -6;
  const codes = Int8Array.from(normals(n * k), (v) => Math.max(-127, Math.min(127, Math.round(40 * v))));
  const scales = normals(n).map((v) => 0.01 + Math.abs(v) / 100);

  /** The definition in f64; columns of `kept` in f64, the rest rounded per token. */
  function expected(kept: readonly number[]): { y: Float64Array; slack: Float64Array } {
    const y = new Float64Array(tokens * n);
    const slack = new Float64Array(tokens * n);
    for (let t = 0; t < tokens; t++) {
      const row = x.subarray(t * k, (t + 1) * k);
      const top = Math.max(...[...row].map((v, c) => (kept.includes(c) ? 0 : Math.abs(v))));
      for (let o = 0; o < n; o++) {
        for (let c = 0; c < k; c++) {
          const w = codes[o * k + c] * scales[o];
          y[t * n + o] += w * (kept.includes(c) ? row[c] : (even((row[c] / top) * 127) * top) / 127);
          // A value that lies on a tie within f32's error may round either way.
          const ratio = (row[c] / top) * 127;
          if (Math.abs(Math.abs(ratio % 1) - 0.5) < 1e-4) slack[t * n + o] += Math.abs((w * top) / 127);
        }
      }
    }
    return { y, slack };
  }

  it.each([
    { name: 'W8A8', threshold: undefined, kept: [] },
    { name: "LLM.int8()'s split", threshold: 6, kept: [33, 68] },
    { name: 'a split without outliers', threshold: 1000, kept: [] },
  ])('$name', async ({ threshold, kept }) => {
    const linear = createInt8Linear(
      gpu,
      { outFeatures: n, inFeatures: k, codes, scales },
      { outlierThreshold: threshold },
    );
    const found = await linear.multiply(x, tokens);
    const { y, slack } = expected(kept);
    for (const [i, value] of y.entries()) {
      expect(Math.abs(found[i] - value), `output ${i}`).toBeLessThan(1e-4 + 1e-5 * Math.abs(value) + slack[i]);
    }
    linear.dispose();
    expect(gpu.buffers.bytes).toBe(0);
  });
});
