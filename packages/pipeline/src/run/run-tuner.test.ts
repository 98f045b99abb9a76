import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import {
  createContext,
  type Engine,
  perChannel,
  type QuantizedTensor,
  type Quantizer,
  scheme,
  type Tuner,
  type TunerInput,
  uint2,
} from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { createTrainingEngine, createWasmKernels } from '@q/kernels-wasm';
import { createRuntime, runBlock } from '@q/models';
import { qaft } from '@q/qat';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { runPlan } from './run.js';

const layout = gptqLayout();
const target = scheme({ format: uint2, granularity: perChannel, zeroPoint: 'integer' });
const tuner = qaft({ epochs: 2, batch: 2, warmUp: 1, saveEvery: 1 });

let folder: string;
let calibration: Windows;
beforeAll(async () => {
  calibration = await demoWindows(32, 4);
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-tuner-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const onTfjs = () => createEngine({ backend: 'wasm' });

async function run<T>(
  name: string,
  use: Tuner,
  options: Parameters<typeof createContext>[0] = {},
  quantizer: Quantizer = rtn(),
  engine: () => Promise<Engine<T>> = onTfjs as () => Promise<Engine<any>>,
) {
  const source = await openCheckpoint(demoModel, [layout]);
  try {
    const recipe = { layout, rules: [{ match: /layers/, quantizer, scheme: target }], tuner: use, seed: 0 };
    return await runPlan(planRun(source, recipe, { count: 4, length: 32, batch: 8 }), {
      out: join(folder, name),
      context: createContext(options),
      calibration,
      engine,
    });
  } finally {
    await source.close();
  }
}

describe('a recipe with a tuner', () => {
  it('writes what the training gave, to the bit, and reports it', async () => {
    let trained: ReadonlyMap<string, QuantizedTensor> = new Map();
    const spy: Tuner = {
      ...tuner,
      async tune(input, context) {
        const result = await tuner.tune(input, context);
        trained = result.modules;
        return result;
      },
    };
    const { layers } = await run('out', spy);
    const written = await openCheckpoint(join(folder, 'out'), [layout]);
    expect(trained.size).toBe(28);
    for (const [module, { codes, scales, zeroPoints }] of trained)
      expect(await written.quantized(module)).toMatchObject({ codes, scales, zeroPoints });
    await written.close();
    expect(layers.length).toBe(28);
    expect(new Set(layers.map(({ method }) => method))).toEqual(new Set(['qaft']));
    expect(layers[0].figures.steps).toBe(4);
    expect((await readdir(join(folder, 'out'))).filter((name) => name.startsWith('q-'))).toEqual([]);
  });

  it('goes on where it was interrupted, to the same bytes', async () => {
    await run('whole', tuner);
    for (const step of [1, 3]) {
      const controller = new AbortController();
      const interrupted = run(`parts${step}`, tuner, {
        signal: controller.signal,
        progress: ({ task, done }) => {
          if (task === 'qaft' && done === step) controller.abort();
        },
      });
      await expect(interrupted).rejects.toThrow();
      expect((await run(`parts${step}`, tuner)).resumed).toBe(true);
      for (const name of await readdir(join(folder, 'whole')))
        expect(await readFile(join(folder, `parts${step}`, name)), name).toEqual(
          await readFile(join(folder, 'whole', name)),
        );
    }
  });

  it('keeps the last good checkpoint of a training that failed, and nothing of one that never began', async () => {
    const failing: Tuner = {
      ...tuner,
      async tune(input) {
        await input.store?.save(new Map([['progress', Float32Array.of(1)]]));
        throw new Error('the loss is NaN');
      },
    };
    await expect(run('failed', failing)).rejects.toThrow(/loss is NaN/);
    expect(await readdir(join(folder, 'failed'))).toContain('q-training');
    await expect(run('never', qaft({ batch: 8 }))).rejects.toThrow(/needs as many; there are 4/);
    await expect(readdir(join(folder, 'never'))).rejects.toThrow();
  });

  it('refuses too little memory in the plan, with the batch that fits', async () => {
    await expect(run('small', qaft({ batch: 4, memory: 30e6 }))).rejects.toThrow(/a batch of \d fits/);
    await expect(readdir(join(folder, 'small'))).rejects.toThrow();
  });

  it('is given the hidden states of the unquantized model, in the bytes of its own forward pass', async () => {
    let compared = 0;
    const spy: Tuner = {
      ...tuner,
      readsHiddenStates: true,
      async tune<T>({ engine: { ops }, model, source, windows, hiddenStates }: TunerInput<T>) {
        const weights = new Map<string, T>();
        for (const name of [...model.embeddingTensors, ...model.blocks.flatMap(({ tensors }) => tensors)])
          weights.set(name, ops.fromTensor(await source.weight(name)));
        const runtime = createRuntime(ops, weights, { ties: model.ties });
        const { ids, count, length } = windows;
        const size = length * model.hiddenSize;
        for (let window = 0; window < count; window++) {
          let hidden = model.embed(runtime, ids.subarray(window * length, (window + 1) * length), 1, length);
          for (const block of model.blocks) {
            hidden = runBlock(block, runtime, hidden);
            const given = hiddenStates?.get(block.index);
            if (!given) continue;
            expect(ops.dataSync(hidden)).toEqual(given.slice(window * size, (window + 1) * size));
            compared++;
          }
        }
        return { modules: new Map(), figures: {}, notes: [] };
      },
    };
    const kernels = await createWasmKernels();
    // Of what it can do, the one thing for which the unquantized model runs beside the quantized one.
    const paired = gptq({ ...paperOptions, retarget: 1 });
    await run('given', spy, { kernels }, paired, () => createTrainingEngine({ threads: 1 }));
    // Nothing runs the last stage of the last block; on tfjs the batch may have a say in the last bits.
    expect(compared).toBe(4 * 3);
    await run('not given', spy, { kernels }, paired);
    const blind = { ...spy, readsHiddenStates: false };
    await run('not wanted', blind, { kernels }, paired, () => createTrainingEngine({ threads: 1 }));
    await run('no walk', spy, {}, rtn(), () => createTrainingEngine({ threads: 1 }));
    expect(compared).toBe(4 * 3);
    await kernels.dispose();
  });
});
