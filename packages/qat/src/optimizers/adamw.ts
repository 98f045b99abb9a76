import type { Optimizer, ParameterSet } from './optimizer.js';

export interface AdamWOptions {
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.95. */
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly epsilon?: number;
  /** Weight decay, decoupled from the gradient: each step shrinks by `rate * decay`. Default 0. */
  readonly decay?: number;
  /** Returns true for the parameters that decay. Default: all. */
  readonly decays?: (name: string) => boolean;
}

/** AdamW (Loshchilov and Hutter, arXiv 1711.05101): decoupled decay, bias correction; states in f32, on the host. */
export function adamW(options: AdamWOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0, decays = () => true } = options;
  const first = new Map<string, Float32Array>();
  const second = new Map<string, Float32Array>();
  let steps = 0;
  // The step at which the second moment was frozen.
  let frozenAt: number | undefined;
  return {
    name: 'adamW',
    options: { beta1, beta2, epsilon, decay },
    step(parameters: ParameterSet, gradients: ParameterSet, rate) {
      steps++;
      // (m / c1) / (sqrt(v / c2) + epsilon) with one division an element: m (rate / c1) / (sqrt(v) / sqrt(c2) +
      // epsilon).
      const correct1 = 1 / (1 - beta1 ** steps);
      const correct2 = 1 / Math.sqrt(1 - beta2 ** (frozenAt ?? steps));
      const [gain1, gain2] = [1 - beta1, frozenAt === undefined ? 1 - beta2 : 0];
      for (const [name, x] of parameters) {
        const g = gradients.get(name) as Float32Array;
        const m = stateOf(first, name, x.length);
        const v = stateOf(second, name, x.length);
        const size = rate(name);
        const shrink = decay > 0 && decays(name) ? 1 - size * decay : 1;
        const stepSize = size * correct1;
        for (let i = 0; i < x.length; i++) {
          const slope = g[i];
          const mean = m[i] + gain1 * (slope - m[i]);
          const square = v[i] + gain2 * (slope * slope - v[i]);
          m[i] = mean;
          v[i] = square;
          x[i] = x[i] * shrink - (stepSize * mean) / (Math.sqrt(square) * correct2 + epsilon);
        }
      }
    },
    freezeSecondMoment() {
      frozenAt ??= Math.max(1, steps);
    },
    stateBytes: (parameters) => 8 * parameters,
    heldBytes: () => [...first.values(), ...second.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    save: () =>
      new Map([
        ['steps', Float32Array.of(steps)],
        ...(frozenAt === undefined ? [] : [['frozen', Float32Array.of(frozenAt)] as const]),
        ...[...first].map(([name, values]): [string, Float32Array] => [`first/${name}`, values]),
        ...[...second].map(([name, values]): [string, Float32Array] => [`second/${name}`, values]),
      ]),
    load(state) {
      steps = state.get('steps')?.[0] ?? 0;
      frozenAt = state.get('frozen')?.[0];
      for (const [key, values] of state) {
        const slash = key.indexOf('/');
        if (slash > 0) (key.startsWith('first/') ? first : second).set(key.slice(slash + 1), values.slice());
      }
    },
  };
}

function stateOf(states: Map<string, Float32Array>, name: string, length: number): Float32Array {
  let found = states.get(name);
  if (!found) {
    found = new Float32Array(length);
    states.set(name, found);
  }
  return found;
}
