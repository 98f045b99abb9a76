import { createRequire } from 'node:module';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

// tfjs' ES modules leave out extensions, which Node does not: the CommonJS builds.
const require = createRequire(import.meta.url);

/** Products of tfjs' WebGPU backend. */
export interface TfjsWebgpu {
  /** `[m, k] x [n, k]^T` or, with `transposed` false, `[m, k] x [k, n]`: `weight` stays on the device. */
  linear(weight: Float32Array, n: number, k: number, transposed?: boolean): TfjsLinear;
  /** Ends its device. */
  dispose(): void;
}

interface TfjsLinear {
  /** `x` `[m, k]` -> `[m, n]`, from host to host. */
  multiply(x: Float32Array, m: number): Promise<Float32Array>;
  dispose(): void;
}

/** tfjs 4.22 as in a browser, where it finds `gpu` as `navigator.gpu` when it is loaded and when its device is made. */
export async function createTfjsWebgpu(gpu: GPU): Promise<TfjsWebgpu> {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  const tf = require('@tensorflow/tfjs-core') as typeof import('@tensorflow/tfjs-core');
  require('@tensorflow/tfjs-backend-webgpu');
  await tf.setBackend('webgpu');
  // Dawn keeps the process alive as long as it is referred to.
  Object.defineProperty(globalThis, 'navigator', before ?? { value: undefined, configurable: true });
  return {
    linear(weight, n, k, transposed = true) {
      const w = tf.tensor2d(weight, transposed ? [n, k] : [k, n]);
      return {
        async multiply(x, m) {
          const input = tf.tensor2d(x, [m, k]);
          const y = tf.matMul(input, w, false, transposed);
          const out = (await y.data()) as Float32Array;
          tf.dispose([input, y]);
          return out;
        },
        dispose: () => w.dispose(),
      };
    },
    dispose() {
      const { device } = tf.backend() as WebGPUBackend;
      tf.removeBackend('webgpu');
      device.destroy();
    },
  };
}
