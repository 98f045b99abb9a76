import type { Optimizer } from './optimizer.js';

/**
 * Steps of one size: `x -= rate * sign(gradient)`. Over T steps with a rate falling linearly from 1/T to 0 a parameter
 * moves by at most half: SignRound's bound on its rounding offsets (arXiv 2309.05516).
 */
export function signSgd(): Optimizer {
  return {
    name: 'signSgd',
    options: {},
    step(parameters, gradients, rate) {
      for (const [name, x] of parameters) {
        const g = gradients.get(name) as Float32Array;
        const size = rate(name);
        // Signs are a coin's: a branch, which `Math.sign` has, is foreseen every other time only.
        for (let i = 0; i < x.length; i++) x[i] -= size * (Number(g[i] > 0) - Number(g[i] < 0));
      }
    },
    stateBytes: () => 0,
    heldBytes: () => 0,
    save: () => new Map(),
    load() {},
  };
}
