import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { bf16Absence, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { asymmetric, measureRecipe } from '../../figures/src/measure-recipe.js';
import { sharedFolder } from '../../figures/src/shared-model.js';
import { firstWindows, openSubject } from '../../figures/src/subject.js';

const absence = bf16Absence();

it.runIf(absence)('a processor without products of bf16 refuses the engine', async () => {
  await expect(createEngine({ backend: 'node-bf16' })).rejects.toThrow(`no engine: node-bf16: ${absence}`);
});

describe.skipIf(absence)('products in bf16', () => {
  it('round operands to 8 significant bits, and sum in f32', async () => {
    const { ops, name, notes } = await createEngine({ backend: 'node-bf16' });
    expect(name).toBe('tfjs-node-bf16');
    expect(notes).toContain('node: products round their operands to bf16');
    const n = 256;
    const product = (value: (i: number) => number) => {
      const x = ops.fromF32(
        Float32Array.from({ length: n * n }, (_, i) => value(i)),
        [n, n],
      );
      return ops.dataSync(ops.linear(x, x))[0];
    };
    // Integers to 256 are bf16, and their sum of squares to 2^24 is f32.
    expect(product((i) => i % 200)).toBe(Array.from({ length: n }, (_, i) => (i % 200) ** 2).reduce((a, b) => a + b));
    // 1 + 2^-9 is not bf16; its two neighbours are 1 and 1 + 2^-7.
    expect(product(() => 1 + 2 ** -9)).toBe(n);
  });

  it('have the precision of the first engine of a process', async () => {
    await createEngine({ backend: 'node-bf16' });
    expect((await createEngine({ backend: 'node' })).name).toBe('tfjs-node-bf16');
  });

  it.skipIf(!sharedFolder('models', 'llama-5m'))('give GPTQ of 4 bits as close to the original', async () => {
    const subject = firstWindows(await openSubject('llama-5m'), 16, 8);
    const kernels = await createWasmKernels();
    const measure = (backend: 'node-bf16' | 'wasm') =>
      measureRecipe(subject, gptq(paperOptions), asymmetric(4, 128), kernels, { backend });
    const [rounded, wasm] = [await measure('node-bf16'), await measure('wasm')];
    await kernels.dispose();
    expect(rounded.kl).toBeGreaterThan(0);
    expect(Math.abs(rounded.kl / wasm.kl - 1)).toBeLessThan(0.2);
  });
});
