import {
  absMaxStat,
  createContext,
  createRandom,
  type ScalableEdge,
  type Statistic,
  type Tensor,
  type TransformInput,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { inputRows } from './input-rows.js';
import { o1, o3 } from './levels.js';
import { smoothingScales } from './smoothing-scales.js';
import { alphaGrid, smoothquant } from './smoothquant.js';

const random = createRandom('smoothquant');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const context = createContext();

const edge: ScalableEdge = {
  id: 'norm->q,k',
  producer: { kind: 'norm', module: 'norm' },
  consumers: ['q', 'k'],
};

/** What `apply` gets, with the statistics of one input for all consumers. */
async function inputOf(
  edges: readonly ScalableEdge[],
  weights: Record<string, Tensor<'f32'>>,
  x: Float32Array,
  width: number,
  extra: readonly Statistic<any>[] = [],
): Promise<TransformInput> {
  const states = new Map<Statistic<any>, unknown>();
  for (const statistic of [absMaxStat, ...extra]) {
    const state = statistic.create(width);
    await statistic.update(state, { x, tokens: x.length / width, width }, context.kernels);
    states.set(statistic, state);
  }
  const statistics = {
    get: <S>(statistic: Statistic<S>) => [...states].find(([known]) => known.name === statistic.name)?.[1] as S,
    has: (statistic: Statistic<unknown>) => states.has(statistic),
  };
  return {
    edges,
    weights: new Map(Object.entries(weights)),
    statistics: () => statistics,
    scheme: () => undefined,
    roles: () => [],
  };
}

describe('smoothingScales', () => {
  // The paper's figure 5, worked by hand: X = [[1, -16, 2, 6], [-2, 8, -1, -9]] has column maxima 2, 16, 2, 9;
  // W (in x out) = [[2, 1, -2], [1, -1, -1], [2, -1, -2], [-1, -1, 1]] has row maxima 2, 1, 2, 1.
  it('reproduces the arithmetic of figure 5 with alpha 0.5: s is 1, 4, 1, 3', () => {
    // Our weights are [out, in].
    const weight = tensor('f32', [3, 4], Float32Array.of(2, 1, 2, -1, 1, -1, -1, -1, -2, -1, -2, 1));
    const x = [
      [1, -16, 2, 6],
      [-2, 8, -1, -9],
    ];
    const s = smoothingScales([2, 16, 2, 9], [weight], 0.5);
    expect([...s]).toEqual([1, 4, 1, 3]);
    expect(x.map((row) => row.map((value, j) => value / s[j]))).toEqual([
      [1, -4, 2, 2],
      [-2, 2, -1, -3],
    ]);
    // Scaled weight columns: maxima 2, 4, 2, 3, as the activations': the difficulty is shared evenly.
    const scaled = [0, 1, 2, 3].map((j) => Math.max(...[0, 1, 2].map((o) => Math.abs(weight.data[4 * o + j] * s[j]))));
    expect(scaled).toEqual([2, 4, 2, 3]);
  });

  it('takes the maximum over all linears that share the input', () => {
    const [a, b] = [tensor('f32', [1, 2], Float32Array.of(4, 1)), tensor('f32', [2, 2], Float32Array.of(1, -9, 0, 2))];
    expect([...smoothingScales([16, 81], [a, b], 0.5)]).toEqual([2, 3]);
  });

  it('evens the weights at alpha 0 and the activations at 1', () => {
    const weight = tensor('f32', [1, 2], Float32Array.of(4, 0.5));
    expect([...smoothingScales([3, 5], [weight], 0)]).toEqual([0.25, 2]);
    expect([...smoothingScales([3, 5], [weight], 1)]).toEqual([3, 5]);
  });

  it('leaves dead channels at 1, guards unread ones, and refuses NaN and inputs that were all zero', () => {
    const weight = tensor('f32', [1, 3], Float32Array.of(1, 0, 1));
    const s = smoothingScales([0, 4, 1], [weight], 0.5);
    expect(s[0]).toBe(1);
    expect(s[1]).toBeCloseTo(2 / Math.sqrt(1e-5), 2);
    expect(() => smoothingScales([1, Number.NaN, 1], [weight], 0.5)).toThrow('channel 1');
    expect(() => smoothingScales([0, 0, 0], [weight], 0.5)).toThrow('all 3 input channels');
  });
});

describe('smoothquant', () => {
  const width = 8;
  const weights = () => ({
    'norm.weight': tensor('f32', [width], normals(width)),
    'norm.bias': tensor('f32', [width], normals(width)),
    'q.weight': tensor('f32', [5, width], normals(5 * width)),
    'k.weight': tensor('f32', [3, width], normals(3 * width)),
  });

  it('leaves the function unchanged: norm, both linears and the bias of the norm', async () => {
    const before = weights();
    const x = normals(40 * width);
    for (let i = 3; i < x.length; i += width) x[i] *= 60;
    const {
      weights: after,
      inputScales,
      figures,
    } = await smoothquant({ alpha: 0.7 }).apply(await inputOf([edge], before, x, width), context);
    expect([...after.keys()].sort()).toEqual(['k.weight', 'norm.bias', 'norm.weight', 'q.weight']);
    expect(figures).toEqual({ 'alpha norm->q,k': 0.7 });
    expect([...inputScales.keys()]).toEqual(['q', 'k']);
    const run = (of: (name: string) => Tensor<'f32'>, module: 'q' | 'k', z: Float32Array) => {
      const weight = of(`${module}.weight`);
      return Array.from({ length: weight.shape[0] }, (_, o) => {
        let sum = 0;
        for (let j = 0; j < width; j++)
          sum += (z[j] * of('norm.weight').data[j] + of('norm.bias').data[j]) * weight.data[o * width + j];
        return sum;
      });
    };
    for (const module of ['q', 'k'] as const) {
      const z = normals(width);
      const expected = run((name) => before[name as keyof typeof before], module, z);
      const found = run((name) => after.get(name) as Tensor<'f32'>, module, z);
      for (const [o, y] of found.entries()) expect(Math.abs(y - expected[o])).toBeLessThan(1e-4);
    }
  });

  it('takes norm edges only, unless told otherwise', () => {
    const linear: ScalableEdge = { id: 'v->o', producer: { kind: 'linear', module: 'v' }, consumers: ['o'] };
    expect(smoothquant().edges([edge, linear])).toEqual([edge]);
    expect(smoothquant({ edges: 'all' }).edges([edge, linear])).toEqual([edge, linear]);
  });

  it('refuses an edge through an activation, naming both', async () => {
    const through = { ...edge, id: 'fc1->gelu->fc2', through: 'gelu' } as unknown as ScalableEdge;
    const input = await inputOf([through], weights(), normals(80), width);
    await expect(smoothquant().apply(input, context)).rejects.toThrow(/fc1->gelu->fc2.*gelu/);
  });

  it('skips an edge whose inputs or weights are all zero, on the record', async () => {
    const input = await inputOf([edge], weights(), new Float32Array(4 * width), width);
    expect(await smoothquant().apply(input, context)).toMatchObject({
      weights: new Map(),
      notes: ['edge norm->q,k: every input was 0 on the calibration tokens; not smoothed'],
    });
    const empty = {
      ...weights(),
      'q.weight': tensor('f32', [5, width]),
      'k.weight': tensor('f32', [3, width]),
    };
    const zeros = await smoothquant().apply(await inputOf([edge], empty, normals(4 * width), width), context);
    expect(zeros.notes[0]).toContain('all its weights are 0');
  });

  it('refuses NaN in one calibration batch, naming the edge and channel', async () => {
    const x = normals(5 * width);
    x[2 * width + 6] = Number.NaN;
    await expect(smoothquant().apply(await inputOf([edge], weights(), x, width), context)).rejects.toThrow(
      /norm->q,k.*channel 6 is NaN/,
    );
  });

  it('refuses an alpha outside 0 to 1', () => {
    expect(() => smoothquant({ alpha: 1.5 })).toThrow('alpha must be a number from 0 to 1, or search, got 1.5');
    expect(() => smoothquant({ alpha: Number.NaN })).toThrow('got NaN');
  });

  it('shares one factor among the copies of a repeated head', async () => {
    const repeated: ScalableEdge = {
      id: 'v->o',
      producer: { kind: 'linear', module: 'v' },
      consumers: ['o'],
      repeat: { times: 2, headDim: 2 },
    };
    const own = { 'v.weight': tensor('f32', [4, 3], normals(12)), 'o.weight': tensor('f32', [2, 8], normals(16)) };
    const { inputScales } = await smoothquant({ edges: 'all' }).apply(
      await inputOf([repeated], own, normals(8 * 8), 8),
      context,
    );
    const factors = inputScales.get('o') as Float32Array;
    expect([factors[2], factors[3], factors[6], factors[7]]).toEqual([factors[0], factors[1], factors[4], factors[5]]);
    expect(factors[0]).not.toBe(factors[4]);
  });

  it.each([o1, o3])('searches the alpha with the smallest error of the quantized product', async (level) => {
    const own = weights();
    const x = normals(64 * width);
    for (let i = 3; i < x.length; i += width) x[i] *= 100;
    const transform = smoothquant({ alpha: 'search', level });
    const { figures } = await transform.apply(await inputOf([edge], own, x, width, transform.needs), context);
    const errors = alphaGrid.map((alpha) => {
      const s = smoothingScales(maxima(x, width), [own['q.weight'], own['k.weight']], alpha);
      return bruteForceError(x, width, [own['q.weight'], own['k.weight']], s, level === o1);
    });
    const chosen = alphaGrid.indexOf(figures['alpha norm->q,k']);
    expect(errors[chosen]).toBeLessThan(1.02 * Math.min(...errors));
    expect(errors[chosen]).toBeLessThan(0.5 * Math.max(...errors));
  });
});

function maxima(x: Float32Array, width: number): number[] {
  return Array.from({ length: width }, (_, j) => Math.max(...x.filter((_, i) => i % width === j).map(Math.abs)));
}

/** The quantized product from its definition, in f64. */
function bruteForceError(
  x: Float32Array,
  width: number,
  weights: readonly Tensor<'f32'>[],
  s: Float32Array,
  perToken: boolean,
): number {
  const round = (value: number, step: number) => step * Math.max(-127, Math.min(127, Math.round(value / step)));
  const smooth = x.map((value, i) => value / s[i % width]);
  const tokens = x.length / width;
  const step = (t: number) =>
    Math.max(...(perToken ? smooth.slice(t * width, (t + 1) * width) : smooth).map(Math.abs)) / 127;
  const steps = Array.from({ length: tokens }, (_, t) => step(t));
  let total = 0;
  for (const { data, shape } of weights) {
    const scaled = data.map((value, i) => value * s[i % width]);
    const weightStep = Math.max(...scaled.map(Math.abs)) / 127;
    let [error, norm] = [0, 0];
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < shape[0]; o++) {
        let [exact, found] = [0, 0];
        for (let j = 0; j < width; j++) {
          exact += x[t * width + j] * data[o * width + j];
          found += round(smooth[t * width + j], steps[t]) * round(scaled[o * width + j], weightStep);
        }
        error += (exact - found) ** 2;
        norm += exact ** 2;
      }
    }
    total += error / norm;
  }
  return total;
}

describe('inputRows', () => {
  it('keeps evenly spaced rows, the same whatever the batches', async () => {
    const statistic = inputRows(8);
    const x = Float32Array.from({ length: 100 }, (_, i) => i);
    const whole = statistic.create(1);
    await statistic.update(whole, { x, tokens: 100, width: 1 }, context.kernels);
    const parts = statistic.create(1);
    for (let i = 0; i < 100; i += 7)
      await statistic.update(
        parts,
        { x: x.slice(i, i + 7), tokens: x.slice(i, i + 7).length, width: 1 },
        context.kernels,
      );
    expect(parts).toEqual(whole);
    expect([...whole.rows.subarray(0, whole.kept)]).toEqual([0, 16, 32, 48, 64, 80, 96]);
    expect(statistic.count(whole)).toBe(100);
    const copy = statistic.deserialize(statistic.serialize(whole));
    expect([...copy.rows.subarray(0, copy.kept)]).toEqual([...whole.rows.subarray(0, whole.kept)]);
  });

  it('merges within its capacity, counts everything, and refuses other widths', async () => {
    const statistic = inputRows(4);
    const states = [0, 1].map(() => statistic.create(2));
    for (const state of states)
      await statistic.update(state, { x: normals(20), tokens: 10, width: 2 }, context.kernels);
    statistic.merge(states[0], states[1]);
    expect(states[0].kept).toBeLessThanOrEqual(4);
    expect(states[0].count).toBe(20);
    expect(() => statistic.merge(states[0], statistic.create(3))).toThrow('widths 2 and 3');
  });
});
