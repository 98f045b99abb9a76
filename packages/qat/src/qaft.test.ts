import { createContext, dequantize, f16Scale, nf4, perGroup, type QuantizedTensor, scheme, uint2 } from '@q/core';
import { createRuntime } from '@q/models';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gsq } from './gsq.js';
import { selfTeacher } from './objectives/model-loss.js';
import { modelObjective } from './objectives/model-objective.js';
import { qaft } from './qaft.js';
import { memoryStore, tinyModel, tinySource, tinyStart, tinyWeights, tinyWindows } from './testing/tiny-model.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

const of = scheme({ format: uint2, zeroPoint: 'integer' });
const windows = tinyWindows(8);
const start = tinyStart(of);
const short = { epochs: 6, batch: 2, warmUp: 2, rates: { weight: 1e-2 } } as const;
const input = () => ({ model: tinyModel, engine, source: tinySource, start, windows });
const tensorName = 'model.layers.1.mlp.down_proj.weight';

/** KL of the model with these linears to the original on windows, from the engine's forward pass. */
async function divergence(modules: ReadonlyMap<string, QuantizedTensor>): Promise<number> {
  const { ops } = engine;
  const handles = new Map([...tinyWeights].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
  const teacher = await selfTeacher(tinyModel, createRuntime(ops, handles), windows, 4);
  const values = new Map([...modules].map(([module, each]) => [`${module}.weight`, dequantize(each).data]));
  const objective = modelObjective({
    ops,
    model: tinyModel,
    frozen: handles,
    shapes: new Map([...modules].map(([module, each]) => [`${module}.weight`, each.shape])),
    windows,
    loss: { labels: 0, teacher: 1 },
    teacher,
  });
  const { loss } = await objective.evaluate(
    values,
    Int32Array.from({ length: windows.count }, (_, i) => i),
    0,
  );
  for (const handle of handles.values()) ops.dispose(handle);
  return loss;
}

describe('gsq against the teacher', () => {
  it('lowers the divergence with all linears at once, and frees what it used', async () => {
    const before = await divergence(start);
    const { tensors } = engine.memory();
    const tuner = gsq({ steps: 80, batch: 4, against: 'teacher' });
    const { modules, notes, figures } = await tuner.tune(input(), createContext());
    expect(engine.memory().tensors).toBe(tensors);
    expect(notes).toEqual([]);
    expect(figures.steps).toBe(80);
    expect(await divergence(modules)).toBeLessThan(0.7 * before);
  });

  it('keeps the start of a model that training made worse, and says so', async () => {
    const tuner = gsq({ steps: 2, batch: 4, against: 'teacher', rate: 5, scaleRate: 1 });
    const { modules, notes } = await tuner.tune(input(), createContext());
    expect(notes).toEqual([expect.stringContaining('did not lower the loss of the whole model')]);
    for (const [module, { codes }] of modules) expect(codes).toEqual(start.get(module)?.codes);
  });
});

describe('qaft', () => {
  it('lowers the divergence, exports what a file can hold, and frees what it used', async () => {
    const before = await divergence(start);
    const tensors = engine.memory().tensors;
    const { modules, figures } = await qaft(short).tune(input(), createContext());
    expect(engine.memory().tensors).toBe(tensors);
    expect(await divergence(modules)).toBeLessThan(0.7 * before);
    expect(figures.steps).toBe(24);
    for (const each of modules.values()) {
      expect(f16Scale.store(each.scales).effective).toEqual(each.scales);
      expect(each.zeroPoints?.every((z) => Number.isInteger(z) && z >= 0 && z <= 3)).toBe(true);
    }
  });

  it('goes on from a checkpoint to the same bytes', async () => {
    const tuner = qaft({ ...short, epochs: 3, saveEvery: 2 });
    const whole = await tuner.tune(input(), createContext());
    const store = memoryStore();
    const controller = new AbortController();
    const context = createContext({
      signal: controller.signal,
      progress: ({ done }) => {
        if (done === 5) controller.abort();
      },
    });
    await expect(tuner.tune({ ...input(), store }, context)).rejects.toThrow();
    expect(store.saves).toEqual([2, 4]);
    const resumed = await tuner.tune({ ...input(), store }, createContext());
    for (const [module, each] of whole.modules) {
      expect(resumed.modules.get(module)?.codes).toEqual(each.codes);
      expect(resumed.modules.get(module)?.scales).toEqual(each.scales);
      expect(resumed.modules.get(module)?.zeroPoints).toEqual(each.zeroPoints);
    }
    expect(resumed.figures.steps).toBe(12);
  });

  it('stops at a loss that is not finite, naming step and layer, with the last checkpoint kept', async () => {
    const store = memoryStore();
    const run = qaft({ ...short, epochs: 2, saveEvery: 1 }).tune(
      {
        ...input(),
        store: {
          ...store,
          async load() {
            return undefined;
          },
          async save(state) {
            await store.save(state);
            // What a cosmic ray would do.
            (state.get(`parameters/${tensorName}#scale`) as Float32Array)[0] = Number.NaN;
          },
        },
      },
      createContext(),
    );
    await expect(run).rejects.toThrow(
      /parameters of model\.layers\.1\.mlp\.down_proj\.weight are not finite at step 2 of 8.*checkpoint of step 1 is kept/,
    );
    expect((await store.load())?.get('progress')?.[0]).toBe(1);
  });

  it('stops early when the held-out loss no longer falls, and keeps the best', async () => {
    const { figures, notes } = await qaft({
      ...short,
      epochs: 30,
      heldOut: 2,
      patience: 1,
      rates: { weight: 0.3 },
    }).tune(input(), createContext());
    expect(figures.steps).toBeLessThan(90);
    expect(figures.heldOutLoss).toBeGreaterThan(0);
    expect(notes[0]).toMatch(/stopped after \d+ of 90 steps/);
  });

  it('learns from labels, and from both', async () => {
    const [labels, both] = [
      await qaft({ ...short, epochs: 1, loss: 'labels' }).tune(input(), createContext()),
      await qaft({ ...short, epochs: 1, loss: { labels: 0.5, teacher: 0.5 } }).tune(input(), createContext()),
    ];
    expect(labels.figures.loss).toBeGreaterThan(both.figures.loss);
  });

  it('refuses what it cannot do, before anything is computed', async () => {
    const double = { ...f16Scale, name: 'double', toJSON: () => 'double' };
    expect(qaft().refuse?.(scheme({ format: nf4, granularity: perGroup(8), scaleStorage: double }))).toMatch(
      /no gradient/,
    );
    expect(qaft().refuse?.(of)).toBeUndefined();
    await expect(qaft({ memory: 300e3 }).tune(input(), createContext())).rejects.toThrow(/batch of \d fits/);
    await expect(qaft({ memory: 1e3 }).tune(input(), createContext())).rejects.toThrow(/not even a batch of 1 fits/);
    await expect(qaft({ batch: 9 }).tune(input(), createContext())).rejects.toThrow(/9 x 1 windows.*there are 8/);
    const other = { vocabularySize: 41, logits: () => expect.fail('not asked') };
    const build = () =>
      modelObjective({
        ops: engine.ops,
        model: tinyModel,
        frozen: new Map(),
        shapes: new Map(),
        windows,
        loss: { labels: 0, teacher: 1 },
        teacher: other,
      });
    expect(build).toThrow(/vocabulary of 41 tokens, the model one of 40/);
  });
});

describe('model objective', () => {
  it('gives the same derivatives with activation checkpointing, and the slope of the loss', async () => {
    const { ops } = engine;
    const handles = new Map([...tinyWeights].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const teacher = await selfTeacher(tinyModel, createRuntime(ops, handles), windows, 4);
    const values = new Map([...start].map(([module, each]) => [`${module}.weight`, dequantize(each).data]));
    const make = (checkpointing: boolean) =>
      modelObjective({
        ops,
        model: tinyModel,
        frozen: handles,
        shapes: new Map([...start].map(([module, each]) => [`${module}.weight`, each.shape])),
        windows,
        loss: { labels: 0.3, teacher: 1 },
        teacher,
        checkpointing,
      });
    const indices = Int32Array.of(0, 3, 5);
    const held = engine.memory().tensors;
    const [plain, saved] = [
      await make(false).evaluate(values, indices, 0),
      await make(true).evaluate(values, indices, 0),
    ];
    expect(engine.memory().tensors).toBe(held);
    expect(saved.loss).toBeCloseTo(plain.loss, 5);
    for (const [name, derivative] of plain.derivatives) {
      const size = Math.max(...derivative.map(Math.abs));
      const other = saved.derivatives.get(name) as Float32Array;
      expect(Math.max(...derivative.map((d, i) => Math.abs(d - other[i])))).toBeLessThan(1e-4 * size);
    }
    const gradient = plain.derivatives.get(tensorName) as Float32Array;
    const norm = Math.hypot(...gradient);
    const along = async (t: number) => {
      const moved = (values.get(tensorName) as Float32Array).map((w, i) => w + (t * gradient[i]) / norm);
      return (await make(false).evaluate(new Map(values).set(tensorName, moved), indices, 0)).loss;
    };
    expect(((await along(0.01)) - (await along(-0.01))) / 0.02 / norm).toBeCloseTo(1, 2);
    for (const handle of handles.values()) ops.dispose(handle);
  });
});
