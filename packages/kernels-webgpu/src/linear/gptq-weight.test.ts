import { encodeF16 } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { bitStream, integers, normals, product, relativeError } from '../testing/reference.js';
import { gptqWeight } from './gptq-weight.js';
import { createGpuLinear } from './gpu-linear.js';

const found = await openDawn();
afterAll(() => found?.close());

/**
 * A GPTQ linear written by the definition in docs/reference/file-formats.md#gptq: codes and zeros column by column, and
 * its weights in f64.
 */
function make(bits: 2 | 3 | 4 | 8, groupSize: number, out: number, width: number, gIdx?: Int32Array) {
  const groups = width / groupSize;
  const codes = integers(out * width, 2 ** bits);
  const zeros = integers(out * groups, 2 ** bits);
  const scales = encodeF16(normals(out * groups).map((x) => 0.01 + Math.abs(x) / 50));
  const groupOf = (i: number) => gIdx?.[i] ?? Math.floor(i / groupSize);
  const weights = new Float64Array(out * width);
  const scaleValue = (bitsOfScale: number) => {
    const exponent = (bitsOfScale >> 10) & 31;
    return 2 ** (exponent - 15) * (1 + (bitsOfScale & 1023) / 1024);
  };
  for (let o = 0; o < out; o++) {
    for (let i = 0; i < width; i++) {
      const g = groupOf(i);
      weights[o * width + i] = (codes[o * width + i] - zeros[g * out + o]) * scaleValue(scales[g * out + o]);
    }
  }
  const qweight = new Uint32Array(((width * bits) / 32) * out);
  for (let o = 0; o < out; o++) {
    const stream = new Uint32Array(bitStream(codes.subarray(o * width, (o + 1) * width), bits).buffer);
    for (let word = 0; word < stream.length; word++) qweight[word * out + o] = stream[word];
  }
  const qzeros = new Uint32Array((groups * out * bits) / 32);
  for (let g = 0; g < groups; g++) {
    qzeros.set(new Uint32Array(bitStream(zeros.subarray(g * out, (g + 1) * out), bits).buffer), (g * out * bits) / 32);
  }
  return { weights, args: { outFeatures: out, inFeatures: width, bits, groupSize, qweight, qzeros, scales, gIdx } };
}

describe.runIf(found)('GPTQ weights on the device', () => {
  if (!found) return;
  const gpu = openGpu(found);

  it.each([4, 3, 2, 8] as const)('of %i bits are the ones that the file means, exactly', async (bits) => {
    const { weights, args } = make(bits, 32, 64, 96);
    const weight = await gptqWeight(gpu, { ...args, checkpointFormat: 'gptq_v2' });
    expect(await createGpuLinear(gpu, weight).dequantize()).toEqual(Float32Array.from(weights));
    weight.dispose();
  });

  it('read golden words: codes 0..7 down the rows, zeros of the first format one less', async () => {
    const weight = await gptqWeight(gpu, {
      outFeatures: 8,
      inFeatures: 8,
      bits: 4,
      groupSize: 8,
      qweight: new Uint32Array(8).fill(0x76543210),
      qzeros: Uint32Array.of(0x77777777),
      scales: new Uint16Array(8).fill(0x3c00),
      checkpointFormat: 'gptq',
    });
    const expected = Float32Array.from({ length: 64 }, (_, i) => (i % 8) - 8);
    expect(await createGpuLinear(gpu, weight).dequantize()).toEqual(expected);
    weight.dispose();
  });

  it('multiply one token, several and a prompt, with act-order too', async () => {
    const width = 320;
    const gIdx = Int32Array.from({ length: width }, (_, i) => (i * 7) % 10);
    const { weights, args } = make(4, 32, 72, width, gIdx);
    const weight = await gptqWeight(gpu, { ...args, checkpointFormat: 'gptq_v2' });
    const linear = createGpuLinear(gpu, weight);
    expect(await linear.dequantize()).toEqual(Float32Array.from(weights));
    for (const tokens of [1, 3, 40]) {
      const x = normals(tokens * width);
      const y = await linear.multiply(x, tokens);
      expect(relativeError(y, product(x, weights, tokens, 72, width)), `${tokens} tokens`).toBeLessThan(1e-6);
    }
    const plain = openGpu({ ...found, without: ['subgroups'] });
    const x = normals(2 * width);
    const y = await createGpuLinear(plain, weight).multiply(x, 2);
    expect(relativeError(y, product(x, weights, 2, 72, width)), 'without subgroups').toBeLessThan(1e-6);
    if (gpu.capabilities.f16) {
      const prompt = normals(20 * width);
      const half = await createGpuLinear(gpu, weight, { f16: true }).multiply(prompt, 20);
      const error = relativeError(half, product(prompt, weights, 20, 72, width));
      expect(error, 'products in f16').toBeLessThan(2e-3);
      expect(error, 'f16 is used').toBeGreaterThan(1e-6);
    }
    const [first, second] = [normals(width), normals(width)];
    const [one, two] = await Promise.all([linear.multiply(first, 1), linear.multiply(second, 1)]);
    expect(relativeError(one, product(first, weights, 1, 72, width)), 'overlapping calls').toBeLessThan(1e-6);
    expect(relativeError(two, product(second, weights, 1, 72, width)), 'overlapping calls').toBeLessThan(1e-6);
    linear.dispose();
    expect(gpu.buffers.bytes).toBe(0);
  });

  it('refuse groups of unequal size and shapes that do not fit', async () => {
    const { args } = make(4, 32, 64, 96, new Int32Array(96));
    await expect(gptqWeight(gpu, { ...args, checkpointFormat: 'gptq' })).rejects.toThrow(
      'group 0 of g_idx has 96 inputs',
    );
    const short = { ...args, gIdx: undefined, scales: new Uint16Array(3), checkpointFormat: 'gptq' as const };
    await expect(gptqWeight(gpu, short)).rejects.toThrow('scales has 3 values, 192 are needed');
  });
});
