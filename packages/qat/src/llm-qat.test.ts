import {
  createContext,
  dequantize,
  f32Scale,
  int2,
  int4,
  int8,
  nf4,
  perChannel,
  perGroup,
  perToken,
  scheme,
  uint4,
} from '@q/core';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { llmQat } from './llm-qat.js';
import { tinyModel, tinySource, tinyStart, tinyWeights, tinyWindows } from './testing/tiny-model.js';

const int4PerRow = scheme({ format: int4, granularity: perChannel, scaleStorage: f32Scale });
const perTokenOf = (format: typeof int8) => scheme({ format, granularity: perToken, scaleStorage: f32Scale });

async function tune(options: Parameters<typeof llmQat>[0], target = int4PerRow) {
  const engine = await createEngine({ backend: 'wasm' });
  try {
    return await llmQat({ batch: 2, warmUp: 0, ...options }).tune(
      { model: tinyModel, engine, source: tinySource, start: tinyStart(target), windows: tinyWindows(4) },
      createContext(),
    );
  } finally {
    await engine.dispose();
  }
}

describe('llm-qat', () => {
  it('starts at the min-max grid of the paper: S = (2^(b-1) - 1) / max|w|, what = round(w S) / S', async () => {
    const { modules } = await tune({ weights: 'minMax', epochs: 1, rate: 1e-12 });
    for (const [module, quantized] of modules) {
      const weight = tinyWeights.get(`${module}.weight`)!;
      const [rows, columns] = weight.shape;
      const actual = dequantize(quantized).data;
      for (let row = 0; row < rows; row++) {
        const own = [...weight.data.subarray(row * columns, (row + 1) * columns)];
        const largest = Math.max(...own.map(Math.abs));
        for (const [j, w] of own.entries())
          expect(Math.abs(actual[row * columns + j] - (Math.round((w * 7) / largest) * largest) / 7)).toBeLessThan(
            1e-6,
          );
      }
    }
  });

  it.each(['learned', 'minMax'] as const)('learns the logits with inputs and cache quantized, %s', async (weights) => {
    const quantized = { activations: perTokenOf(int8), cache: perTokenOf(int2) };
    const before = await tune({ ...quantized, weights, epochs: 1, rate: 1e-12 });
    const after = await tune({ ...quantized, weights, epochs: 6, rate: 5e-3 });
    expect(after.figures.loss).toBeLessThan(0.85 * before.figures.loss);
    expect(after.notes.join()).toMatch(/8-bit inputs and a 2-bit cache/);
    // What quantizing them costs is in the loss.
    const weightsAlone = await tune({ weights, epochs: 1, rate: 1e-12 });
    expect(before.figures.loss).toBeGreaterThan(weightsAlone.figures.loss);
    expect(weightsAlone.notes).toEqual([]);
  });

  it('refuses schemes that it cannot train', () => {
    expect(
      llmQat({ weights: 'minMax' }).refuse?.(scheme({ format: uint4, granularity: perChannel, zeroPoint: 'integer' })),
    ).toMatch(/symmetric scheme/);
    expect(llmQat().refuse?.(scheme({ format: int2, granularity: perGroup(8) }))).toBeUndefined();
    expect(() => llmQat({ cache: scheme({ format: nf4, granularity: perToken }) })).toThrow(
      /llm-qat, cache: activations in nf4 have no gradient/,
    );
    expect(() => llmQat({ activations: scheme({ format: int8, granularity: perGroup(8) }) })).toThrow(
      /per token or per tensor/,
    );
  });
});
