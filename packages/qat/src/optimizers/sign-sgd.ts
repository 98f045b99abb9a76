import type { Optimizer } from './optimizer.js';

/**
 * Steps of one size: `x -= rate * sign(gradient)`. Over T steps with a rate that falls linearly from 1/T to 0, a
 * parameter moves by at most half: SignRound's bound on its rounding offsets (arXiv 2309.05516).
 */
export function signSgd(): Optimizer {
  return {
    name: 'signSgd',
    options: {},
    step(parameters, gradients, rate) {
      for (const [name, x] of parameters) {
        const g = gradients.get(name) as Float32Array;
        const size = rate(name);
        // Signs are random, so the processor mispredicts half of the branches that `Math.sign` has.
        for (let i = 0; i < x.length; i++) x[i] -= size * (Number(g[i] > 0) - Number(g[i] < 0));
      }
    },
    stateBytes: () => 0,
    heldBytes: () => 0,
    save: () => new Map(),
    load() {},
  };
}
