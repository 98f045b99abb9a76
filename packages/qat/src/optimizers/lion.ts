import type { Optimizer } from './optimizer.js';

export interface LionOptions {
  /** Share of the momentum in the direction of a step. Default 0.9. */
  readonly beta1?: number;
  /** Decay of the momentum. Default 0.95. */
  readonly beta2?: number;
  /** Decoupled weight decay of these parameters: each step shrinks by `rate * decay`. Default 0. */
  readonly decay?: number;
  /** Returns true for the parameters that decay. Default: all. */
  readonly decays?: (name: string) => boolean;
}

/**
 * Lion (Chen et al., arXiv 2302.06675): steps of one size in the direction of `sign(beta1 m + (1 - beta1) g)`. It has
 * one state a parameter. Unlike Adam, its steps keep their full size when gradients become very small, as those of
 * nearly decided choices do.
 */
export function lion(options: LionOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.95, decay = 0, decays = () => true } = options;
  const momenta = new Map<string, Float32Array>();
  return {
    name: 'lion',
    options: { beta1, beta2, decay },
    step(parameters, gradients, rate) {
      for (const [name, x] of parameters) {
        const g = gradients.get(name) as Float32Array;
        let m = momenta.get(name);
        if (!m) momenta.set(name, (m = new Float32Array(x.length)));
        const size = rate(name);
        const shrink = decay > 0 && decays(name) ? 1 - size * decay : 1;
        for (let i = 0; i < x.length; i++) {
          const direction = beta1 * m[i] + (1 - beta1) * g[i];
          m[i] = beta2 * m[i] + (1 - beta2) * g[i];
          x[i] = shrink * x[i] - size * (Number(direction > 0) - Number(direction < 0));
        }
      }
    },
    stateBytes: (parameters) => 4 * parameters,
    heldBytes: () => [...momenta.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    save: () => new Map([...momenta].map(([name, values]): [string, Float32Array] => [`momentum/${name}`, values])),
    load(state) {
      for (const [key, values] of state)
        if (key.startsWith('momentum/')) momenta.set(key.slice('momentum/'.length), values.slice());
    },
  };
}
