import { createRandom, FormatError, NumericError, ShapeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { int8Blocks } from './blocks.js';
import { createGradientReducer, type GradientReducer } from './create-gradient-reducer.js';
import { errorFeedback } from './error-feedback.js';
import { exact } from './exact.js';
import type { Exchange } from './exchange.js';
import type { GradientCompressor } from './gradient-compressor.js';
import { createLoopback as loopback } from './loopback.js';
import { oneBitMomentum } from './one-bit-momentum.js';
import { powerSgd } from './power-sgd.js';
import { qsgd } from './qsgd.js';
import { scaledSign } from './scaled-sign.js';
import { stateless } from './stateless.js';
import { ternGrad } from './tern-grad.js';
import { topK } from './top-k.js';

const shapes = new Map([
  ['a', [20, 30]],
  ['b', [20]],
]);
const gradientsOf = (seed: string, scale = 1) => {
  const random = createRandom(seed);
  return new Map(
    [...shapes].map(([name, shape]) => [
      name,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => scale * random.normal()),
    ]),
  );
};
const reducers = (compressor: GradientCompressor, workers: number, tamper?: Parameters<typeof loopback>[1]) =>
  loopback(workers, tamper).map((exchange) =>
    createGradientReducer({ compressor, exchange, shapes, smallest: 1, random: createRandom('reduce') }),
  );
const stepOf = (all: readonly GradientReducer[], step: number) =>
  Promise.all(all.map((each, rank) => each.reduce(gradientsOf(`step ${step} of ${rank}`), step)));

const compressors: GradientCompressor[] = [
  exact(),
  stateless(qsgd()),
  stateless(ternGrad()),
  stateless(int8Blocks()),
  errorFeedback(scaledSign()),
  errorFeedback(topK({ share: 0.1 })),
  errorFeedback(int8Blocks()),
  oneBitMomentum({ warmup: 2 }),
  powerSgd({ rank: 2, start: 2 }),
];

describe('gradients over several workers', () => {
  for (const compressor of compressors) {
    it(`${compressor.name}: all workers get the same bits, and a restored state goes on to them`, async () => {
      const whole = reducers(compressor, 3);
      const before = reducers(compressor, 3);
      for (let step = 0; step < 4; step++) {
        const results = await stepOf(whole, step);
        for (const result of results) expect(result).toEqual(results[0]);
        await stepOf(before, step);
      }
      const after = reducers(compressor, 3);
      after.forEach((each, rank) => {
        each.load(before[rank].save());
      });
      expect(await stepOf(after, 4)).toEqual(await stepOf(whole, 4));
    });
  }

  it('exact: the mean of the workers in f64', async () => {
    const [result] = await stepOf(reducers(exact(), 4), 7);
    const all = [0, 1, 2, 3].map((rank) => gradientsOf(`step 7 of ${rank}`).get('a') as Float32Array);
    result.get('a')?.forEach((value, i) => {
      expect(value).toBe(Math.fround(all.reduce((sum, each) => sum + each[i], 0) / 4));
    });
  });

  for (const compressor of [errorFeedback(scaledSign()), errorFeedback(topK()), powerSgd({ rank: 1, start: 0 })]) {
    it(`${compressor.name}: what was sent plus the residual is the sum of the gradients, in f64`, () => {
      const state = compressor.createState([20, 30]);
      const random = createRandom('sum');
      const sent = new Float64Array(600);
      const given = new Float64Array(600);
      for (let step = 0; step < 200; step++) {
        const g = Float32Array.from({ length: 600 }, () => random.normal());
        const running = state.reduce(g, random);
        let next = running.next();
        while (!next.done) next = running.next([next.value]);
        next.value.forEach((value, i) => {
          sent[i] += value;
          given[i] += g[i];
        });
      }
      const saved = state.save();
      const residual = (i: number) =>
        ['low', 'middle', 'high'].reduce((sum, part) => sum + (saved.get(`residual.${part}`) as Float32Array)[i], 0);
      for (let i = 0; i < 600; i++) expect(Math.abs(sent[i] + residual(i) - given[i])).toBeLessThan(1e-12);
    });
  }

  it('powerSgd is exact after one step with a warm start when the rank suffices', () => {
    const random = createRandom('rank');
    const [u, v] = [40, 50].map((n) => Float32Array.from({ length: 2 * n }, () => random.normal()));
    const g = Float32Array.from({ length: 2000 }, (_, i) => {
      const [row, column] = [Math.floor(i / 50), i % 50];
      return u[2 * row] * v[2 * column] + u[2 * row + 1] * v[2 * column + 1];
    });
    const state = powerSgd({ rank: 4, start: 0 }).createState([40, 50]);
    let last: Float32Array = g;
    for (let step = 0; step < 2; step++) {
      const running = state.reduce(g, random);
      let next = running.next();
      while (!next.done) next = running.next([next.value]);
      last = next.value;
    }
    expect(Math.max(...last.map((value, i) => Math.abs(value - g[i])))).toBeLessThan(1e-4);
  });

  it('1-bit momentum: elements with small gradients get small ones after the warm-up too', async () => {
    const [reducer] = loopback(1).map((exchange) =>
      createGradientReducer({
        compressor: oneBitMomentum({ warmup: 20 }),
        exchange,
        shapes: new Map([['x', [512]]]),
        random: createRandom('momentum'),
      }),
    );
    const random = createRandom('small and large');
    const sizeOf = (i: number) => (i % 2 === 0 ? 1 : 0.001);
    for (let step = 0; step < 40; step++) {
      const gradient = Float32Array.from({ length: 512 }, (_, i) => sizeOf(i) * random.normal());
      const x = (await reducer.reduce(new Map([['x', gradient]]), step)).get('x') as Float32Array;
      // The signs of the momentum itself would give all elements the mean magnitude: 1000 times too much for half of them.
      x.forEach((value, i) => {
        if (i % 2 === 1) expect(Math.abs(value)).toBeLessThan(0.05);
      });
    }
  });

  it('counts bytes: one bit an element, and one worker sends nothing more', async () => {
    const big = new Map([['w', [512, 512]]]);
    const reducer = createGradientReducer({
      compressor: errorFeedback(scaledSign()),
      exchange: { rank: 0, workers: 1, allGather: async (message) => [message] },
      shapes: big,
      random: createRandom(0),
    });
    await reducer.reduce(new Map([['w', new Float32Array(512 * 512).fill(1)]]), 0);
    expect(reducer.exactBytes / reducer.sentBytes).toBeGreaterThan(28.4);
  });
});

describe('messages that cannot be added up', () => {
  const failing = async (tamper: Parameters<typeof loopback>[1], steps = 1) => {
    const all = reducers(exact(), 2, tamper);
    for (let step = 0; step < steps; step++) await stepOf(all, step);
  };
  const from1 = (change: (message: Uint8Array) => Uint8Array) => (message: Uint8Array, rank: number) =>
    rank === 1 ? change(message.slice()) : message;

  it('are refused with the worker, the step and the reason', async () => {
    await expect(failing(from1((m) => m.subarray(0, m.length - 3)))).rejects.toThrow(/worker 1 for step 0.*truncated/);
    await expect(failing(from1((m) => m.subarray(0, 10)))).rejects.toThrow(/truncated/);
    await expect(
      failing(
        from1((m) => {
          m[100] ^= 4;
          return m;
        }),
      ),
    ).rejects.toThrow(/worker 1.*damaged/);
    await expect(failing(from1(() => new Uint8Array(200)))).rejects.toThrow(/no gradient message/);
    let first: Uint8Array | undefined;
    await expect(
      failing(
        from1((m) => (first ??= m)),
        2,
      ),
    ).rejects.toThrow(/step 1.*repeated/);
    await expect(failing((_m, _rank, _at) => new Uint8Array(0))).rejects.toThrow(FormatError);
  });

  it('of workers with another scheme or with swapped ranks are refused', async () => {
    const [left, right] = loopback(2);
    const make = (compressor: GradientCompressor, exchange: Exchange) =>
      createGradientReducer({ compressor, exchange, shapes, random: createRandom(0) });
    const pair = [make(exact(), left), make(stateless(int8Blocks()), right)];
    await expect(Promise.all(pair.map((each) => each.reduce(gradientsOf('x'), 0)))).rejects.toThrow(/another scheme/);
  });

  it('are not even written for gradients of another shape or without finite values', async () => {
    const [alone] = reducers(exact(), 1);
    await expect(alone.reduce(new Map(), 0)).rejects.toThrow(ShapeError);
    const bad = gradientsOf('bad');
    (bad.get('b') as Float32Array)[3] = Number.NaN;
    await expect(alone.reduce(bad, 0)).rejects.toThrow(NumericError);
  });
});

describe('convergence on a quadratic beside exact gradients', () => {
  /** SGD on `sum c (x - t)^2 / 2` with noise of each worker's own; the mean squared distance at the end. */
  async function distance(compressor: GradientCompressor): Promise<number> {
    const random = createRandom('quadratic');
    const size = 600;
    const target = Float32Array.from({ length: size }, () => random.normal());
    const curvature = Float32Array.from({ length: size }, () => 0.3 + random.uniform());
    const x = new Float32Array(size);
    const all = loopback(2).map((exchange) =>
      createGradientReducer({
        compressor,
        exchange,
        shapes: new Map([['x', [20, 30]]]),
        smallest: 1,
        random: createRandom('c'),
      }),
    );
    for (let step = 0; step < 300; step++) {
      const own = all.map(
        () => new Map([['x', x.map((value, i) => curvature[i] * (value - target[i]) + 0.1 * random.normal())]]),
      );
      const [mean] = await Promise.all(all.map((each, rank) => each.reduce(own[rank], step)));
      mean.get('x')?.forEach((value, i) => {
        x[i] -= 0.1 * value;
      });
    }
    return x.reduce((sum, value, i) => sum + (value - target[i]) ** 2, 0) / size;
  }

  it('ends near the same point with every scheme', async () => {
    const plain = await distance(exact());
    expect(plain).toBeLessThan(1e-3);
    for (const compressor of [
      stateless(qsgd()),
      stateless(int8Blocks()),
      errorFeedback(scaledSign()),
      errorFeedback(topK({ share: 0.1 })),
      powerSgd({ rank: 4 }),
    ])
      expect(await distance(compressor), compressor.name).toBeLessThan(plain + 5e-3);
  });
});
