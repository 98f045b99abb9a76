/** AdamW (Loshchilov and Hutter 2019): decoupled decay, bias correction; states in f32, on the host. */
export class AdamW {
  private readonly first = new Map<string, Float32Array>();
  private readonly second = new Map<string, Float32Array>();
  private steps = 0;

  constructor(
    private readonly options: {
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly decay: number;
    },
  ) {}

  /** One step. Decay applies to matrices only: `decays(name)`. */
  step(
    parameters: ReadonlyMap<string, Float32Array>,
    gradients: ReadonlyMap<string, Float32Array>,
    rate: number,
    decays: (name: string) => boolean,
  ): void {
    const { beta1, beta2, epsilon, decay } = this.options;
    this.steps++;
    const correct1 = 1 - beta1 ** this.steps;
    const correct2 = 1 - beta2 ** this.steps;
    for (const [name, x] of parameters) {
      const g = gradients.get(name) as Float32Array;
      const m = this.state(this.first, name, x.length);
      const v = this.state(this.second, name, x.length);
      const shrink = decays(name) ? 1 - rate * decay : 1;
      for (let i = 0; i < x.length; i++) {
        m[i] += (1 - beta1) * (g[i] - m[i]);
        v[i] += (1 - beta2) * (g[i] * g[i] - v[i]);
        x[i] = x[i] * shrink - (rate * (m[i] / correct1)) / (Math.sqrt(v[i] / correct2) + epsilon);
      }
    }
  }

  private state(states: Map<string, Float32Array>, name: string, length: number): Float32Array {
    let found = states.get(name);
    if (!found) {
      found = new Float32Array(length);
      states.set(name, found);
    }
    return found;
  }
}
