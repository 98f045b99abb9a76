import { bitsPerWeight, createContext, createRandom, quantize, SchemeError, schemes } from '@q/core';
import { createRuntime, describeModel, forward } from '@q/models';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryStore, tinyModel, tinySource, tinyWeights, tinyWindows } from '../testing/tiny-model.js';
import { lowRankRuntime } from './low-rank-runtime.js';
import { mergedAdapter, mergeLowRank } from './merged-adapter.js';
import { type QloraOptions, qlora } from './qlora.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'wasm' });
});
afterAll(() => engine.dispose());

const settings = { rank: 4, alpha: 8, epochs: 3, batch: 2, rate: 1e-2, warmUp: 0 };
const learn = (options: QloraOptions = {}, store?: ReturnType<typeof memoryStore>, signal?: AbortSignal) =>
  qlora({ ...settings, ...options }).train(
    { model: tinyModel, engine, source: tinySource, windows: tinyWindows(6), store },
    createContext({ signal }),
  );

describe('low-rank factors', () => {
  it('have the gradients of y = W x + s B A x, against differences in f64', async () => {
    const { ops } = engine;
    const random = createRandom('factors');
    const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
    const [x, w, a, b, g] = [normals(3 * 5), normals(4 * 5), normals(2 * 5), normals(4 * 2), normals(3 * 4)];
    const scaling = 8 / 2;
    const loss = (A: ArrayLike<number>, B: ArrayLike<number>): number => {
      let sum = 0;
      for (let t = 0; t < 3; t++) {
        const low = [0, 1].map((r) => [0, 1, 2, 3, 4].reduce((acc, j) => acc + A[r * 5 + j] * x[t * 5 + j], 0));
        for (let o = 0; o < 4; o++) {
          const plain = [0, 1, 2, 3, 4].reduce((acc, j) => acc + w[o * 5 + j] * x[t * 5 + j], 0);
          sum += g[t * 4 + o] * (plain + scaling * (B[o * 2] * low[0] + B[o * 2 + 1] * low[1]));
        }
      }
      return sum;
    };
    const upload = (data: Float32Array, shape: number[]) => ops.fromF32(data, shape);
    const { value, gradients } = ops.valueAndGradients(
      (v) => {
        const inner = createRuntime(ops, { get: (name) => ({ 'm.weight': upload(w, [4, 5]), ...v })[name] });
        const runtime = lowRankRuntime(inner, { modules: new Set(['m']), alpha: 8, rank: 2 });
        return ops.sum(ops.mul(runtime.linear('m', upload(x, [1, 3, 5])), upload(g, [1, 3, 4])));
      },
      { 'm.lora_A.weight': upload(a, [2, 5]), 'm.lora_B.weight': upload(b, [4, 2]) },
    );
    expect((await ops.data(value))[0]).toBeCloseTo(loss(a, b), 3);
    for (const [name, at] of Object.entries({ 'm.lora_A.weight': a, 'm.lora_B.weight': b })) {
      const actual = await ops.data(gradients[name]);
      for (let i = 0; i < at.length; i++) {
        const moved = (by: number) => {
          const data = Float64Array.from(at);
          data[i] += by;
          return at === a ? loss(data, b) : loss(a, data);
        };
        expect(actual[i]).toBeCloseTo((moved(1e-4) - moved(-1e-4)) / 2e-4, 3);
      }
    }
  });

  it('drop the asked share of the inputs, the same ones for the same batch', () => {
    const { ops } = engine;
    const ones = (shape: number[]) => ops.fromF32(new Float32Array(shape[0] * shape[1]).fill(1), shape);
    const weights = new Map([
      ['m.weight', ops.scale(ones([1, 400]), 0)],
      ['m.lora_A.weight', ones([1, 400])],
      ['m.lora_B.weight', ones([1, 1])],
    ]);
    const run = (label: string) => {
      const random = createRandom(label);
      const options = { modules: new Set(['m']), alpha: 1, rank: 1, dropout: 0.25, random };
      return ops.dataSync(lowRankRuntime(createRuntime(ops, weights), options).linear('m', ones([50, 400])));
    };
    const sums = run('a');
    // Sums of 400 inputs with mean 1: deviation 400 * sqrt(1/3 / 400) = 11.5 each.
    expect(sums.reduce((acc, y) => acc + y, 0) / 50).toBeGreaterThan(394);
    expect(sums.reduce((acc, y) => acc + y, 0) / 50).toBeLessThan(406);
    expect(Math.max(...sums) - Math.min(...sums)).toBeGreaterThan(20);
    expect(run('a')).toEqual(sums);
    expect(run('b')).not.toEqual(sums);
  });
});

describe('qlora', () => {
  it('starts at the model in NF4, learns, and leaves the integers alone', async () => {
    const still = await learn({ rate: 1e-12, epochs: 1, dropout: 0 });
    const after = await learn({ epochs: 20 });
    expect(after.training.loss).toBeLessThan(0.8 * still.training.loss);
    expect(after.trainedParameters).toBe(
      [...after.adapter.modules.values()].reduce((sum, { a, b }) => sum + a.data.length + b.data.length, 0),
    );
    expect(after.adapter.modules.size).toBe(14);
    for (const [module, { codes, scheme }] of after.base) {
      const weight = tinyWeights.get(`${module}.weight`)!;
      expect(codes).toEqual(quantize(weight, schemes.nf4DoubleQuantized).codes);
      expect(bitsPerWeight(scheme, [4096, 4096])).toBeCloseTo(4.127, 3);
    }
    // LoRA on the original weights starts lower: NF4 costs something.
    const lora = await learn({ base: 'none', rate: 1e-12, epochs: 1, dropout: 0 });
    expect(lora.base.size).toBe(0);
    expect(lora.training.loss).not.toBe(still.training.loss);
  });

  it('block by block or with everything on the tape: the same factors', async () => {
    const [blocks, tape] = [await learn({ epochs: 1 }), await learn({ epochs: 1, checkpointing: false })];
    for (const [module, { a, b }] of blocks.adapter.modules) {
      const other = tape.adapter.modules.get(module)!;
      for (const [x, y] of [
        [a, other.a],
        [b, other.b],
      ])
        expect(Math.max(...x.data.map((value, i) => Math.abs(value - y.data[i])))).toBeLessThan(2e-3);
    }
  });

  it('goes on from a checkpoint to the same bytes', async () => {
    const whole = await learn();
    const store = memoryStore();
    const stop = new AbortController();
    const { save } = store;
    const stopping = {
      ...store,
      async save(state: ReadonlyMap<string, Float32Array>) {
        await save(state);
        stop.abort();
      },
    };
    await expect(learn({}, stopping, stop.signal)).rejects.toThrow();
    const resumed = await learn({}, store);
    expect(resumed.training.resumedAt).toBe(3);
    expect(resumed.training.loss).toBe(whole.training.loss);
    expect(resumed.training.memory).toEqual(whole.training.memory);
    const { training: nothingLeft } = await learn({}, store);
    expect(nothingLeft.resumedAt).toBe(whole.training.steps);
    expect(nothingLeft.loss).toBe(whole.training.loss);
    for (const [module, { a, b }] of whole.adapter.modules)
      expect(resumed.adapter.modules.get(module)).toEqual({ a, b });
  });

  it('merges into the weights: the same logits as with the factors beside them', async () => {
    const { ops } = engine;
    const { adapter } = await learn({ base: 'none' });
    const { ids } = tinyWindows(2);
    const upload = (weight: (name: string) => Float32Array) =>
      new Map([...tinyModel.expected].map(([name, shape]) => [name, ops.fromF32(weight(name), shape)]));
    const factors = [...adapter.modules].flatMap(([module, { a, b }]) => [
      [`${module}.lora_A.weight`, ops.fromTensor(a)] as const,
      [`${module}.lora_B.weight`, ops.fromTensor(b)] as const,
    ]);
    const beside = lowRankRuntime(
      createRuntime(ops, new Map([...upload((name) => tinyWeights.get(name)!.data), ...factors])),
      { modules: new Set(adapter.modules.keys()), alpha: 8, rank: 4 },
    );
    const merged = mergedAdapter(adapter).apply(tinyModel, tinySource, createContext());
    const values = new Map<string, Float32Array>();
    for (const name of tinyModel.expected.keys()) values.set(name, (await merged.weight(name)).data);
    const inside = createRuntime(
      ops,
      upload((name) => values.get(name)!),
    );
    const [x, y] = [beside, inside].map((runtime) => ops.dataSync(forward(tinyModel, runtime, ids, 2, 12)));
    expect(Math.max(...x.map((value, i) => Math.abs(value - y[i])))).toBeLessThan(2e-4);
    expect(merged.changed.size).toBe(14);
    // And back again.
    const [module, pair] = [...adapter.modules][0];
    const weight = tinyWeights.get(`${module}.weight`)!;
    const back = mergeLowRank(mergeLowRank(weight, pair, 2), pair, -2);
    expect(Math.max(...back.data.map((value, i) => Math.abs(value - weight.data[i])))).toBeLessThan(1e-6);
  });

  it('refuses an adapter of another model, and what cannot be trained', async () => {
    const wide = describeModel({
      ...{ model_type: 'llama', hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2 },
      ...{ num_attention_heads: 2, vocab_size: 40 },
    });
    const { adapter } = await learn({ epochs: 1 });
    expect(() => mergedAdapter(adapter, 'DIR').apply(wide, tinySource, createContext())).toThrow(
      /DIR: the factors of model.layers.0.self_attn.q_proj are \[4,16\] and \[16,4\], its weight is \[32, 32\]/,
    );
    const other = { ...adapter, modules: new Map([['h.0.attn', [...adapter.modules.values()][0]]]) };
    const [[first, { a, b }]] = adapter.modules;
    const large = new Map([
      [first, { a: { ...a, data: a.data.map(() => 1e30) }, b: { ...b, data: b.data.map(() => 1e30) } }],
    ]);
    const beyond = mergedAdapter({ ...adapter, modules: large }, 'DIR').apply(tinyModel, tinySource, createContext());
    await expect(beyond.weight(`${first}.weight`)).rejects.toThrow(
      /^DIR: .*weight with its factors is -?Infinity at element/,
    );
    expect(() => mergedAdapter(other).apply(tinyModel, tinySource, createContext())).toThrow(/does not have/);
    expect(() => qlora({ rank: 0 })).toThrow(SchemeError);
    expect(() => qlora({ dropout: 1 })).toThrow(/dropout/);
    await expect(learn({ targets: () => false })).rejects.toThrow(/no linear/);
    await expect(learn({ memory: 2e4 })).rejects.toThrow(/not even a batch of 1 fits/);
    await expect(learn({ memory: 1.5e5, batch: 6 })).rejects.toThrow(/a batch of \d fits/);
  });

  it('stops at a loss that is not finite, with the step and the linear', async () => {
    await expect(learn({ rate: 1e30, clipNorm: 1e30, epochs: 5 })).rejects.toThrow(/training: .* step \d+ of 15/);
  });
});
