import { createContext, dequantize, int4, type QuantizedTensor, scheme, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import { llmInt8, llmInt8Input, llmInt8Weight } from './llm-int8.js';

const statistics = {
  get: () => {
    throw new Error('nothing was collected');
  },
  has: () => false,
};

async function rounded(out: number, width: number, data: Float32Array): Promise<QuantizedTensor> {
  const weight = tensor('f32', [out, width], data);
  return (await llmInt8().quantize(weight, statistics, llmInt8Weight, createContext())).quantized;
}

describe('llmInt8', () => {
  it('rounds 127 w / max|row| half to even, row by row', async () => {
    const { codes, scales } = await rounded(2, 3, Float32Array.of(127, 0.5, -1.5, -0.5, 0.25, 0));
    expect([...codes].map((code) => code - 128)).toEqual([127, 0, -2, -127, 64, 0]);
    expect([...scales]).toEqual([1, Math.fround(0.5 / 127)]);
  });

  it('gives a row of zeros codes 0', async () => {
    const quantized = await rounded(1, 4, new Float32Array(4));
    expect([...dequantize(quantized).data]).toEqual([0, 0, 0, 0]);
  });

  it('refuses other schemes and thresholds below 0', () => {
    expect(llmInt8().refuse?.(scheme({ format: int4 }), [2, 2])).toContain('symmetric int8');
    expect(llmInt8().refuse?.(llmInt8Weight, [2, 2])).toBeUndefined();
    expect(llmInt8Input().outlierThreshold).toBe(6);
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY]) expect(() => llmInt8Input(bad)).toThrow(`${bad}`);
  });
});
