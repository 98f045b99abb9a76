import { createRequire } from 'node:module';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

// The ES modules of tfjs import without file extensions, which Node does not resolve, so the CommonJS builds are
// loaded.
const require = createRequire(import.meta.url);

/** Products of tfjs's WebGPU backend. */
export interface TfjsWebgpu {
  /** `[m, k] x [n, k]^T` or, with `transposed` false, `[m, k] x [k, n]`: `weight` stays on the device. */
  linear(weight: Float32Array, n: number, k: number, transposed?: boolean): TfjsLinear;
  /** Destroys its device. */
  dispose(): void;
}

interface TfjsLinear {
  /** `x` `[m, k]` -> `[m, n]`, from host to host. */
  multiply(x: Float32Array, m: number): Promise<Float32Array>;
  dispose(): void;
}

/** tfjs 4.22 as in a browser: it reads `gpu` from `navigator.gpu` when it is loaded and when its device is made. */
export async function createTfjsWebgpu(gpu: GPU): Promise<TfjsWebgpu> {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  const tf = require('@tensorflow/tfjs-core') as typeof import('@tensorflow/tfjs-core');
  require('@tensorflow/tfjs-backend-webgpu');
  await tf.setBackend('webgpu');
  // References to Dawn keep the process alive.
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
