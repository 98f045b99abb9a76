import {
  type BlockWeights,
  createContext,
  createRandom,
  dequantize,
  hessian,
  meanAbs,
  minMax,
  perChannel,
  perGroup,
  quantize,
  referenceKernels,
  type ScalableEdge,
  type Statistic,
  type Statistics,
  scheme,
  type Tensor,
  type TransformInput,
  tensor,
  uint3,
} from '@q/core';
import { beforeEach, describe, expect, it } from 'vitest';
import { type AwqOptions, awq } from './awq.js';
import { clipWeight } from './clip.js';
import { scalesOfRatio, searchScales } from './search-scales.js';

const context = createContext();
const target = scheme({ format: uint3, granularity: perGroup(8), zeroPoint: 'integer' });
let random = createRandom('awq');
beforeEach(() => {
  random = createRandom('awq');
});
const normals = (...shape: number[]) =>
  tensor(
    'f32',
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
  );

/** Statistics of given inputs `[tokens, width]`. */
async function statisticsOf(x: Float32Array, width: number): Promise<Statistics> {
  const states = new Map<string, unknown>();
  for (const statistic of [meanAbs, hessian] as Statistic<any>[]) {
    const state = statistic.create(width);
    if (x.length > 0) await statistic.update(state, { x, tokens: x.length / width, width }, referenceKernels);
    states.set(statistic.name, state);
  }
  return {
    get: <State>(statistic: Statistic<State>) => states.get(statistic.name) as State,
    has: ({ name }) => states.has(name),
  };
}

/** Inputs whose channels differ by orders of magnitude. */
const uneven = (tokens: number, width: number) =>
  Float32Array.from({ length: tokens * width }, (_, i) => random.normal() * Math.exp(((i % width) * 4) / width));

const edge: ScalableEdge = { id: 'n->a,b', producer: { kind: 'norm', module: 'n' }, consumers: ['a', 'b'] };

async function input(x: Float32Array, weights: BlockWeights, given: Partial<TransformInput> = {}) {
  const width = weights.get('a.weight')!.shape[1];
  const statistics = await statisticsOf(x, width);
  return {
    edges: [edge],
    weights,
    statistics: () => statistics,
    scheme: () => target,
    roles: () => [],
    ...given,
  } as TransformInput;
}

const block = (width = 16): BlockWeights =>
  new Map([
    ['n.weight', normals(width)],
    ['a.weight', normals(4, width)],
    ['b.weight', normals(4, width)],
  ]);

/** `mean_t ||x_t (A - B)^T||^2` in f64. */
function outputError(x: Float32Array, a: Tensor<'f32'>, b: Tensor<'f32'>): number {
  const [rows, width] = a.shape;
  let sum = 0;
  for (let t = 0; t < x.length / width; t++)
    for (let i = 0; i < rows; i++) {
      let y = 0;
      for (let j = 0; j < width; j++) y += x[t * width + j] * (a.data[i * width + j] - b.data[i * width + j]);
      sum += y * y;
    }
  return sum / (x.length / width);
}

const layer = (options: AwqOptions = {}) => awq({ clip: false, ...options });

describe('scales', () => {
  it('are a^r over the middle of their range', () => {
    const magnitudes = Float64Array.of(16, 4, 1, 0.25);
    const identity = Int32Array.of(0, 1, 2, 3);
    // sqrt of 4, 2, 1, 0.5 over sqrt(4 * 0.5).
    [4, 2, 1, 0.5].forEach((value, j) => {
      expect(scalesOfRatio(magnitudes, identity, 0.5)[j]).toBeCloseTo(value / Math.sqrt(2), 6);
    });
  });

  it('a dead channel keeps 1 and has no say; a tiny one is bounded', () => {
    const scales = scalesOfRatio(Float64Array.of(4, 0, 1), Int32Array.of(0, 1, 2), 0.5);
    expect([...scales]).toEqual([Math.fround(Math.SQRT2), 1, Math.fround(Math.SQRT1_2)]);
    const tiny = scalesOfRatio(Float64Array.of(1, 1e-30), Int32Array.of(0, 1), 0.9);
    expect([...tiny].map((x) => Math.round(x * 1e4) / 1e4)).toEqual([100, 0.01]);
    expect([...scalesOfRatio(Float64Array.of(0, 0), Int32Array.of(0, 1), 0.5)]).toEqual([1, 1]);
  });

  it('copies of one producer channel share the mean', () => {
    const scales = scalesOfRatio(Float64Array.of(1, 2, 3, 2), Int32Array.of(0, 1, 0, 1), 0.5);
    expect(scales[0]).toBe(scales[2]);
    expect(scales[1]).toBe(scales[3]);
  });

  it('the search takes the first least finite error', async () => {
    const tried: number[] = [];
    const found = await searchScales(
      Float64Array.of(1, 4),
      Int32Array.of(0, 1),
      5,
      async (scales) => {
        tried.push(scales[1] / scales[0]);
        return [3, Number.NaN, 2, 2, 5][tried.length - 1];
      },
      true,
    );
    tried.forEach((ratio, i) => {
      expect(ratio).toBeCloseTo(4 ** (i / 5), 5);
    });
    expect(found).toMatchObject({ ratio: 0.4, error: 2, errorUnscaled: 3 });
    for (const exhaustive of [true, false])
      await expect(
        searchScales(Float64Array.of(1), Int32Array.of(0), 3, async () => Number.NaN, exhaustive),
      ).rejects.toThrow('every candidate');
  });

  it('refines a coarse grid: the best of all twenty, wherever it is, of a smooth error', async () => {
    for (let place = 0; place < 20; place++) {
      const judge = async (scales: Float32Array) =>
        (Math.log(scales[1] / scales[0]) / Math.log(4) - place / 20) ** 2 + 1;
      const [all, some] = [true, false].map((exhaustive) =>
        searchScales(Float64Array.of(1, 4), Int32Array.of(0, 1), 20, judge, exhaustive),
      );
      expect(await some).toEqual({ ...(await all), tried: expect.any(Number) });
      expect((await all).tried).toBe(20);
      expect((await some).tried).toBeLessThanOrEqual(9);
      expect((await some).ratio).toBeCloseTo(place / 20, 12);
    }
  });
});

describe('awq', () => {
  it('lowers the output error that it says it lowers, measured on the inputs themselves', async () => {
    const weights = block();
    const x = uneven(64, 16);
    const result = await layer().apply(await input(x, weights), context);
    const scales = result.inputScales.get('a')!.map((factor) => 1 / factor);
    let [scaled, plain] = [0, 0];
    for (const name of ['a.weight', 'b.weight']) {
      const rounded = dequantize(quantize(result.weights.get(name)!, target, { fit: minMax() }));
      const back = tensor(
        'f32',
        rounded.shape,
        rounded.data.map((value, i) => value / scales[i % 16]),
      );
      scaled += outputError(x, back, weights.get(name)!);
      plain += outputError(x, dequantize(quantize(weights.get(name)!, target, { fit: minMax() })), weights.get(name)!);
    }
    expect(result.figures['n->a,b error'] / scaled).toBeCloseTo(1, 4);
    expect(result.figures['n->a,b errorUnscaled'] / plain).toBeCloseTo(1, 4);
    expect(scaled).toBeLessThan(0.8 * plain);
    expect(result.figures['n->a,b ratio']).toBeGreaterThan(0);
  });

  it('judges by the module when it can, with candidates in the unscaled channels', async () => {
    const weights = block();
    const x = uneven(64, 16);
    let calls = 0;
    const evaluate = async (changed: BlockWeights, modules: readonly string[]) => {
      calls++;
      expect([[...changed.keys()], modules]).toEqual([
        ['a.weight', 'b.weight'],
        ['a', 'b'],
      ]);
      return [...changed].reduce((sum, [name, values]) => sum + outputError(x, values, weights.get(name)!), 0);
    };
    const found = await awq({ clip: false, objective: 'module', exhaustive: true }).apply(
      await input(x, weights, { evaluate }),
      context,
    );
    const expected = await layer({ exhaustive: true }).apply(await input(x, weights), context);
    expect(calls).toBe(20);
    expect(found.figures['n->a,b ratio']).toBe(expected.figures['n->a,b ratio']);
    await expect(awq({ objective: 'module' }).apply(await input(x, weights), context)).rejects.toThrow(
      'objective layer',
    );
  });

  it('keeps dead channels and says how many; a layer of zeros and one without tokens are left alone', async () => {
    const weights = block();
    const x = uneven(32, 16).map((value, i) => (i % 16 === 3 ? 0 : value));
    const dead = await layer().apply(await input(x, weights), context);
    expect(dead.figures['n->a,b deadChannels']).toBe(1);
    expect(dead.inputScales.get('a')![3]).toBe(1);
    const zeros: BlockWeights = new Map([...weights].map(([name, { shape }]) => [name, tensor('f32', shape)]));
    zeros.set('n.weight', weights.get('n.weight')!);
    const nothing = await awq().apply(await input(x, zeros), context);
    expect([nothing.weights.size, nothing.clipped?.size, nothing.figures['n->a,b ratio']]).toEqual([0, 0, 0]);
    const unseen = await layer().apply(await input(new Float32Array(0), weights), context);
    expect(unseen.notes).toEqual(['n->a,b: no calibration token reached it: not scaled']);
  });

  it('works with a Hessian of rank 1 and with fewer samples than columns', async () => {
    for (const tokens of [1, 5]) {
      const weights = block();
      const { weights: changed } = await awq().apply(await input(uneven(tokens, 16), weights), context);
      for (const { data } of changed.values()) expect(data.every(Number.isFinite)).toBe(true);
    }
  });

  it('scales kept linears along and leaves edges alone whose linears are all kept', async () => {
    const x = uneven(64, 16);
    const weights = block();
    const one = await layer().apply(
      await input(x, weights, { scheme: (module) => (module === 'a' ? target : undefined) }),
      context,
    );
    expect([...one.weights.keys()].sort()).toEqual(['a.weight', 'b.weight', 'n.weight']);
    const none = await layer().apply(await input(x, weights, { scheme: () => undefined }), context);
    expect(none.weights.size).toBe(0);
  });

  it('refuses an edge through an activation, and to be followed by another transform', async () => {
    const through = { ...edge, through: 'gelu' } as unknown as ScalableEdge;
    await expect(layer().apply(await input(uneven(64, 16), block(), { edges: [through] }), context)).rejects.toThrow(
      'the activation gelu',
    );
    expect(awq().refuse?.([], [{ ...awq(), name: 'smoothquant' }])).toContain('smoothquant runs after it');
    expect(awq().refuse?.([{ ...awq(), name: 'smoothquant' }], [])).toBeUndefined();
    expect(() => awq({ gridPoints: 1 })).toThrow('gridPoints');
    expect(() => awq({ objective: 'kl' as never })).toThrow('objective must be one of layer, module, got "kl"');
  });
});

describe('clipping', () => {
  it.each([
    ['groups', perGroup(8)],
    ['ragged groups', perGroup(6)],
    ['channels', perChannel],
  ])('of %s finds the range of least output error among the ten, as brute force does', async (_name, granularity) => {
    const own = scheme({ format: uint3, granularity, zeroPoint: 'integer' });
    const size = granularity.kind === 'group' ? granularity.size : 16;
    const x = uneven(40, 16);
    // Heavy tails, so that a smaller range pays.
    const weight = tensor(
      'f32',
      [6, 16],
      Float32Array.from({ length: 96 }, () => random.normal() ** 3),
    );
    const sum = (await statisticsOf(x, 16)).get(hessian).sum;
    const inputs = { hessian: sum, fit: minMax() };
    const { weight: clipped, clippedGroups } = await clipWeight(weight, own, inputs, referenceKernels);
    expect(clippedGroups).toBeGreaterThan(0);
    for (let row = 0; row < 6; row++) {
      for (let start = 0; start < 16; start += size) {
        const width = Math.min(size, 16 - start);
        const group = weight.data.subarray(row * 16 + start, row * 16 + start + width);
        const part = Float32Array.from(
          { length: 40 * width },
          (_, i) => x[Math.floor(i / width) * 16 + start + (i % width)],
        );
        const largest = Math.max(...group.map(Math.abs));
        const one = scheme({ format: uint3, zeroPoint: 'integer' });
        const errors = Array.from({ length: 10 }, (_, i) => {
          const c = largest * (1 - i / 20);
          const clamped = tensor(
            'f32',
            [1, width],
            group.map((value) => Math.max(-c, Math.min(c, value))),
          );
          return outputError(
            part,
            dequantize(quantize(clamped, one, { fit: minMax() })),
            tensor('f32', [1, width], group),
          );
        });
        const found = Math.max(...clipped.data.subarray(row * 16 + start, row * 16 + start + width).map(Math.abs));
        const step = Math.round((1 - found / largest) * 20);
        expect(errors[step]).toBeLessThan(Math.min(...errors) * 1.0001 + 1e-9);
      }
    }
  });

  it('leaves queries and keys, and reaches the quantizer only', async () => {
    const renamed = (name: string) => name.replace(/^a/, 'attn.q_proj').replace(/^b/, 'attn.v_proj');
    const weights = new Map(
      [...block()].map(([name, values]) => [
        renamed(name),
        tensor(
          'f32',
          values.shape,
          values.data.map((v) => v ** 3),
        ),
      ]),
    );
    const statistics = await statisticsOf(uneven(64, 16), 16);
    const { weights: changed, clipped } = await awq().apply(
      {
        edges: [{ ...edge, consumers: ['attn.q_proj', 'attn.v_proj'] }],
        weights,
        statistics: () => statistics,
        scheme: (module) => (module === 'n' ? undefined : target),
        roles: (module) => [module === 'attn.q_proj' ? 'query' : 'value'],
      },
      context,
    );
    expect([...clipped!.keys()]).toEqual(['attn.v_proj.weight']);
    expect(clipped!.get('attn.v_proj.weight')).not.toEqual(changed.get('attn.v_proj.weight'));
  });

  it('works in the scaled channels', async () => {
    const weights = normals(4, 16);
    const x = uneven(64, 16);
    const factors = Float32Array.from({ length: 16 }, () => Math.exp(random.normal()));
    const scaledX = x.map((value, i) => value * factors[i % 16]);
    const [plain, scaled] = [
      (await statisticsOf(x, 16)).get(hessian).sum,
      (await statisticsOf(scaledX, 16)).get(hessian).sum,
    ];
    const a = await clipWeight(
      weights,
      target,
      { hessian: plain, inputScales: factors, fit: minMax() },
      referenceKernels,
    );
    const b = await clipWeight(weights, target, { hessian: scaled, fit: minMax() }, referenceKernels);
    expect(a).toEqual(b);
  });
});
