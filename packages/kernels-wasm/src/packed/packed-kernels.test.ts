import { kvAttentionConformance, packedInt8Conformance, packedProductConformance } from '@q/conformance';
import { createRandom } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { createWasmKernels } from '../wasm-kernels.js';
import { createPackedKernels } from './packed-kernels.js';

const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));

describe.each(levels)('packed kernels of wasm, $simd, $threads threads', async ({ simd, threads }) => {
  const kernels = await createPackedKernels({ simd, threads });
  afterAll(() => kernels.dispose());
  for (const { name, run } of packedProductConformance) it(name, () => run(kernels.load));
  for (const { name, run } of packedInt8Conformance) it(name, () => run(kernels));
  for (const { name, run } of kvAttentionConformance) it(name, () => run(kernels.kvAttention));
});

describe('results of packed kernels', async () => {
  const random = createRandom('packed kernels');
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const [outFeatures, inFeatures, groupSize] = [200, 512, 128];
  const words = (count: number) => Uint32Array.from({ length: count }, () => random.integer(2 ** 32));
  const grid = (outFeatures * inFeatures) / groupSize;
  const weight = {
    ...{ outFeatures, inFeatures, groupSize, bits: 4 as const, codes: words((outFeatures * inFeatures) / 8) },
    ...{ scales: normals(grid), zeros: Float32Array.from({ length: grid }, () => random.integer(16)) },
  };
  const one = await createPackedKernels({ threads: 1 });
  const many = await createPackedKernels({ threads: 4 });
  afterAll(() => Promise.all([one.dispose(), many.dispose()]));

  it('are the same bytes with one and with four threads', async () => {
    const [headDim, capacity] = [64, 300];
    const codes = Uint8Array.from({ length: 4 * capacity * headDim }, () => random.integer(256));
    const kv = { bits: 8, along: 'channels', size: headDim, codes, scales: normals(8 * capacity) } as const;
    const cache = { heads: 8, kvHeads: 4, headDim, capacity, packed: capacity, keys: kv, values: kv };
    const inputs = [1, 4, 70].map((tokens) => ({ tokens, x: normals(tokens * inFeatures) }));
    const queries = normals(3 * 8 * headDim);
    const results = await Promise.all(
      [one, many].map(async (kernels) => {
        const linear = await kernels.load(weight);
        const outputs: Float32Array[] = [];
        for (const { tokens, x } of inputs) {
          outputs.push(await linear.multiply(x, tokens));
          const int8 = Int8Array.from(x, (value) => 40 * value);
          const input = { tokens, width: inFeatures, codes: int8, scales: Float32Array.of(1 / 40) };
          outputs.push(await linear.multiplyInt8(input));
        }
        outputs.push(await kernels.kvAttention({ ...cache, queries, tokens: 3 }));
        return outputs;
      }),
    );
    expect(results[1]).toEqual(results[0]);
  });

  it('for many tokens are the bits of the product with the dequantized weight', async () => {
    const kernels = await createWasmKernels({ threads: 1 });
    const dense = new Float32Array(outFeatures * inFeatures);
    for (let o = 0; o < outFeatures; o++) {
      for (let i = 0; i < inFeatures; i++) {
        const code = (weight.codes[Math.floor(i / 8) * outFeatures + o] >>> (4 * (i % 8))) & 15;
        const at = Math.floor(i / groupSize) * outFeatures + o;
        dense[o * inFeatures + i] = (code - weight.zeros[at]) * weight.scales[at];
      }
    }
    const tokens = 50;
    const x = normals(tokens * inFeatures);
    const linear = await one.load(weight);
    const expected = await kernels.matmul({
      a: x,
      b: dense,
      m: tokens,
      n: outFeatures,
      k: inFeatures,
      transposeB: true,
    });
    expect(await linear.multiply(x, tokens)).toEqual(expected);
    await kernels.dispose();
  });
});
