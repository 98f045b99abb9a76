import { describe, expect, it, vi } from 'vitest';
import { engineBytes } from './engine-bytes.js';

const native = vi.hoisted(() => ({ absence: undefined as string | undefined }));
vi.mock('@q/tfjs', () => ({ nativeAbsence: () => native.absence }));

describe('memory of the engine', () => {
  it('counts the native engine where it runs the model', () => {
    native.absence = undefined;
    expect(engineBytes('node', { hiddenSize: 64 })).toBe(420e6);
    expect(engineBytes(undefined, { hiddenSize: 576 })).toBe(420e6);
    expect(engineBytes('auto', { hiddenSize: 64 })).toBe(0);
    expect(engineBytes('wasm', { hiddenSize: 576 })).toBe(0);
  });

  it('counts nothing where the native engine is not installed', () => {
    native.absence = 'not installed';
    expect(engineBytes(undefined, { hiddenSize: 576 })).toBe(0);
  });
});
