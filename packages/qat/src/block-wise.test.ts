import { createContext, dequantize, perGroup, scheme, uint3 } from '@q/core';
import { createRuntime, forward, wrapRuntime } from '@q/models';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { efficientQat } from './efficient-qat.js';
import { gsq } from './gsq.js';
import { peqa } from './peqa.js';
import { signRound } from './sign-round.js';
import { tasks } from './tasks.js';
import { memoryStore, tinyModel, tinySource, tinyStart, tinyWeights, tinyWindows } from './testing/tiny-model.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

const of = scheme({ format: uint3, granularity: perGroup(8), zeroPoint: 'integer' });
const windows = tinyWindows(8);
const start = tinyStart(of);
const input = () => ({ model: tinyModel, engine, source: tinySource, start, windows });

/** Mean squared error of the last hidden states to the unquantized model's, from plain forward passes. */
async function outputError(modules: typeof start): Promise<number> {
  const { ops } = engine;
  const states = async (replaced: typeof start) => {
    const weights = new Map(
      [...tinyWeights].map(([name, tensor]) => {
        const quantized = replaced.get(name.replace(/\.weight$/, ''));
        return [name, ops.fromTensor(quantized ? dequantize(quantized) : tensor)];
      }),
    );
    const handle = forward(tinyModel, createRuntime(ops, weights), windows.ids, windows.count, windows.length);
    const data = await ops.data(handle);
    for (const each of [handle, ...weights.values()]) ops.dispose(each);
    return data;
  };
  const [exact, changed] = [await states(new Map()), await states(modules)];
  return exact.reduce((sum, x, i) => sum + (x - changed[i]) ** 2, 0) / exact.length;
}

describe('signRound', () => {
  it('lowers the error of every block against its start, and of the logits', async () => {
    const before = await outputError(start);
    const held = engine.memory().tensors;
    const untouched = await signRound({ steps: 1, batch: 4, rate: 1e-9 }).tune(input(), createContext());
    const trained = await signRound({ steps: 40, batch: 4 }).tune(input(), createContext());
    expect(engine.memory().tensors).toBe(held);
    expect(trained.figures.block0Loss).toBeLessThan(0.8 * untouched.figures.block0Loss);
    expect(trained.figures.block1Loss).toBeLessThan(0.9 * untouched.figures.block1Loss);
    expect(await outputError(new Map(trained.modules))).toBeLessThan(0.9 * before);
    for (const [module, { codes }] of untouched.modules) expect(codes).toEqual(start.get(module)?.codes);
  });

  it('goes on after a finished block to the same bytes', async () => {
    const tuner = signRound({ steps: 5, batch: 4 });
    const whole = await tuner.tune(input(), createContext());
    const store = memoryStoreOfBlocks();
    const controller = new AbortController();
    const context = createContext({
      signal: controller.signal,
      progress: ({ task, done }) => {
        if (task.includes('layers.1') && done === 2) controller.abort();
      },
    });
    await expect(tuner.tune({ ...input(), store }, context)).rejects.toThrow();
    expect((await store.load())?.get('finished blocks')?.[0]).toBe(1);
    const resumed = await tuner.tune({ ...input(), store }, createContext());
    const { secondsPerStep: _, ...figures } = whole.figures;
    expect(resumed.figures).toMatchObject(figures);
    for (const [module, each] of whole.modules) {
      expect(resumed.modules.get(module)?.codes).toEqual(each.codes);
      expect(resumed.modules.get(module)?.scales).toEqual(each.scales);
    }
  });
});

describe('gsq', () => {
  it('lowers the error of every block against its start, and of the logits', async () => {
    const before = await outputError(start);
    const held = engine.memory().tensors;
    const trained = await gsq({ steps: 60, batch: 4 }).tune(input(), createContext());
    expect(engine.memory().tensors).toBe(held);
    expect(trained.notes).toEqual([]);
    expect(await outputError(new Map(trained.modules))).toBeLessThan(0.9 * before);
  });

  it('keeps the start of a block that training did not make better, and says so', async () => {
    const { modules, notes } = await gsq({ steps: 2, batch: 4, rate: 5, scaleRate: 1 }).tune(input(), createContext());
    expect(notes).toHaveLength(2);
    for (const [module, { codes, scales }] of modules) {
      expect(codes).toEqual(start.get(module)?.codes);
      expect(scales).toEqual(start.get(module)?.scales);
    }
  });

  it('goes on after a finished block to the same bytes', async () => {
    const tuner = gsq({ steps: 6, batch: 4 });
    const whole = await tuner.tune(input(), createContext());
    const store = memoryStoreOfBlocks();
    const controller = new AbortController();
    const context = createContext({
      signal: controller.signal,
      progress: ({ task, done }) => {
        if (task.includes('layers.1') && done === 2) controller.abort();
      },
    });
    await expect(tuner.tune({ ...input(), store }, context)).rejects.toThrow();
    const resumed = await tuner.tune({ ...input(), store }, createContext());
    const { secondsPerStep: _, ...figures } = whole.figures;
    expect(resumed.figures).toMatchObject(figures);
    for (const [module, each] of whole.modules) {
      expect(resumed.modules.get(module)?.codes).toEqual(each.codes);
      expect(resumed.modules.get(module)?.scales).toEqual(each.scales);
    }
  });
});

describe('efficientQat', () => {
  it('trains blocks, then scales, and goes on in either phase to the same bytes', async () => {
    const tuner = efficientQat({
      blockEpochs: 4,
      batch: 2,
      blockRates: { weight: 5e-3 },
      scales: { epochs: 2, rate: 1e-3 },
    });
    const whole = await tuner.tune(input(), createContext());
    expect(await outputError(new Map(whole.modules))).toBeLessThan(0.7 * (await outputError(start)));
    const store = memoryStoreOfBlocks();
    const controller = new AbortController();
    const context = createContext({
      signal: controller.signal,
      progress: ({ task, done }) => {
        if (task === 'e2e-qp' && done === 6) controller.abort();
      },
    });
    await expect(tuner.tune({ ...input(), store }, context)).rejects.toThrow();
    const resumed = await tuner.tune({ ...input(), store }, createContext());
    const { secondsPerStep: _, ...figures } = whole.figures;
    expect(resumed.figures).toMatchObject(figures);
    for (const [module, each] of whole.modules) expect(resumed.modules.get(module)?.scales).toEqual(each.scales);
  });
});

describe('peqa and its tasks', () => {
  it('learns a task in the scales alone, and swaps tasks beside one set of integers', async () => {
    const before = new Map([...start].map(([module, { codes }]) => [module, [...codes]]));
    const learn = async (ids: Int32Array) =>
      peqa({ epochs: 8, batch: 2, rate: 5e-3 }).tune({ ...input(), windows: { ...windows, ids } }, createContext());
    const [one, other] = [await learn(windows.ids), await learn(windows.ids.map((id) => (id * 7) % 40))];
    for (const [module, each] of one.modules) {
      expect(each.codes).toBe(start.get(module)?.codes);
      expect(each.zeroPoints).toBe(start.get(module)?.zeroPoints);
      expect([...each.codes]).toEqual(before.get(module));
    }
    const all = tasks(start);
    all.add('one', scalesOf(one.modules));
    all.add('other', scalesOf(other.modules));
    const bytes = [...all.save('one').values()].reduce((sum, { data }) => sum + data.byteLength, 0);
    const scales = [...start.values()].reduce((sum, { scales: { length } }) => sum + length, 0);
    expect(bytes).toBeLessThanOrEqual(2 * scales);

    const { ops } = engine;
    const handles = new Map([...tinyWeights].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const wrapper = all.wrapper(ops);
    const runtime = wrapRuntime(createRuntime(ops, handles), wrapper);
    const loss = (ids: Int32Array) => {
      const value = ops.scope(() => {
        const logits = forward(tinyModel, runtime, ids, windows.count, windows.length);
        const targets = ids.map((_, i) => ((i + 1) % windows.length === 0 ? -1 : ids[i + 1]));
        return ops.crossEntropy(ops.reshape(logits, [ids.length, 40]), targets);
      });
      const [result] = ops.dataSync(value);
      ops.dispose(value);
      return result;
    };
    const base = loss(windows.ids);
    all.use('one');
    const learned = loss(windows.ids);
    expect(learned).toBeLessThan(base);
    all.use('other');
    expect(loss(windows.ids)).toBeGreaterThan(learned);
    all.use('base');
    expect(loss(windows.ids)).toBe(base);
    const copy = tasks(start);
    copy.load('one', all.save('one'));
    copy.use('one');
    all.use('one');
    expect(loss(windows.ids)).toBe(learned);
    for (const module of start.keys()) expect(copy.quantized(module)).toEqual(all.quantized(module));
    wrapper.dispose();
    for (const handle of handles.values()) ops.dispose(handle);
  });

  it('refuses what is of another model', () => {
    const all = tasks(start);
    expect(() => all.add('x', new Map([['model.layers.9.mlp.up_proj', new Float32Array(3)]]))).toThrow(
      /layers\.9.*another model/,
    );
    expect(() => all.add('x', new Map([['model.layers.0.mlp.up_proj', new Float32Array(3)]]))).toThrow(
      /3 scales for .*group size/,
    );
    expect(() => all.use('poetry')).toThrow(/no task "poetry": known are base/);
  });
});

function scalesOf(modules: ReadonlyMap<string, { readonly scales: Float32Array }>): Map<string, Float32Array> {
  return new Map([...modules].map(([module, { scales }]) => [module, scales]));
}

/** A store in memory, without looking into what it keeps. */
function memoryStoreOfBlocks() {
  let state: ReadonlyMap<string, Float32Array> | undefined;
  return {
    ...memoryStore(),
    async load() {
      return state;
    },
    async save(next: ReadonlyMap<string, Float32Array>) {
      state = new Map([...next].map(([name, values]) => [name, values.slice()]));
    },
  };
}
