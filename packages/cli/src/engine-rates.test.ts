import { kernelEngine } from '@q/pipeline';
import { describe, expect, it, vi } from 'vitest';
import { engineRates } from './engine-rates.js';

const native = vi.hoisted(() => ({ absence: undefined as string | undefined }));
vi.mock('@q/tfjs', () => ({ nativeAbsence: () => native.absence }));

describe('memory and speed of the engine', () => {
  it('are those of the native engine where it runs the model', () => {
    native.absence = undefined;
    for (const [engine, hiddenSize] of [
      ['node', 64],
      ['node-bf16', 64],
      [undefined, 576],
    ] as const) {
      expect(engineRates(engine, { hiddenSize }).bytes).toBe(420e6);
      expect(engineRates(engine, { hiddenSize }).products).toBeGreaterThan(kernelEngine.products);
    }
    expect(engineRates('auto', { hiddenSize: 64 })).toBe(kernelEngine);
    expect(engineRates('wasm', { hiddenSize: 576 })).toBe(kernelEngine);
    expect(engineRates('cpu', { hiddenSize: 576 })).toBe(kernelEngine);
  });

  it('are those of the kernels where the native engine is not installed', () => {
    native.absence = 'not installed';
    expect(engineRates(undefined, { hiddenSize: 576 })).toBe(kernelEngine);
  });
});
