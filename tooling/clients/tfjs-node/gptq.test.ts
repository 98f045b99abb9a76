import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { describe, expect, it } from 'vitest';
import { asymmetric, measureRecipe } from '../../figures/src/measure-recipe.js';
import { sharedFolder } from '../../figures/src/shared-model.js';
import { openSubject } from '../../figures/src/subject.js';

describe.skipIf(!sharedFolder('models', 'llama-5m'))('GPTQ of llama-5m', () => {
  it('is as close to the original on tfjs-node as on wasm', async () => {
    const whole = await openSubject('llama-5m');
    const first = (windows: typeof whole.valid, count: number) => ({
      ...windows,
      count,
      ids: windows.ids.subarray(0, count * windows.length),
    });
    const subject = { ...whole, calibration: first(whole.calibration, 16), valid: first(whole.valid, 8) };
    const kernels = await createWasmKernels();
    const measure = (backend: 'node' | 'wasm') =>
      measureRecipe(subject, gptq(paperOptions), asymmetric(4, 128), kernels, { backend });
    const [native, wasm] = [await measure('node'), await measure('wasm')];
    await kernels.dispose();
    console.log(
      `GPTQ 4 bits, groups of 128: KL ${native.kl.toFixed(5)} on tfjs-node, ${wasm.kl.toFixed(5)} on wasm; ` +
        `${native.seconds.toFixed(1)} s and ${wasm.seconds.toFixed(1)} s`,
    );
    // Other last bits flip a few roundings: the results are as good, not the same.
    expect(native.kl).toBeGreaterThan(0);
    expect(Math.abs(native.kl / wasm.kl - 1)).toBeLessThan(0.2);
    expect(Math.abs(native.perplexity / wasm.perplexity - 1)).toBeLessThan(0.002);
  });
});
