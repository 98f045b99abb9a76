import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { awq } from '@q/awq';
import { diskStates } from '@q/blockwise/disk';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, f16Scale, minMax, type ProgressEvent, perGroup, scheme, uint4 } from '@q/core';
import { gptq } from '@q/gptq';
import { createForwardEngine } from '@q/kernels-wasm';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { runPlan } from '../run/run.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { activationFiles } from './activation-files.js';

const layout = gptqLayout();
const target = scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer', scaleStorage: f16Scale });
/** Compares with the unquantized model, and sends the windows through each block once more before it. */
const recipe = {
  layout,
  transforms: [awq({ gridPoints: 2 })],
  rules: [{ match: '*', quantizer: gptq({ fit: minMax(), ranges: [1], refineRounds: 1 }), scheme: target }],
  seed: 0,
};

const at = workbench();

/** @returns the weights that were written, and the largest size that a file of states had */
async function run(name: string, memory: number | undefined, progress?: (event: ProgressEvent) => void) {
  const source = await openCheckpoint(demoModel, [layout]);
  const calibration = await demoWindows(32, 12);
  const plan = planRun(source, recipe, { count: 12, length: 32, batch: 8, ...(memory ? { memory } : {}) });
  const out = join(at.folder, name);
  try {
    await runPlan(plan, {
      out,
      context: createContext({ kernels: at.kernels, progress }),
      calibration,
      forward: () => createForwardEngine({ threads: 1 }),
      engine: () => expect.fail('nothing trains'),
    });
  } finally {
    await source.close();
  }
  return { plan, weights: await readFile(join(out, 'model.safetensors')), files: await readdir(out) };
}

it('gives the same bytes with activations on the disk, says so, and leaves none there', async () => {
  const inMemory = await run('memory', undefined);
  expect(inMemory.plan.forecast.disk).toBeUndefined();
  let seen = 0;
  const limited = await run('disk', inMemory.plan.forecast.memory.total - 1, ({ task }) => {
    if (task === 'quantize') seen += activationFiles.filter((name) => existsSync(join(at.folder, 'disk', name))).length;
  });
  expect(seen).toBeGreaterThan(2);
  const { forecast, notes } = limited.plan;
  expect(forecast.disk).toBe(inMemory.plan.forecast.memory.activations);
  expect(forecast.memory.total).toBe(inMemory.plan.forecast.memory.total - (forecast.disk as number));
  expect(notes.join()).toMatch(/MB of activations wait in the output folder/);
  expect(limited.weights.equals(inMemory.weights)).toBe(true);
  expect(limited.files).toEqual(inMemory.files);
});

it('computes half as many windows at a time under a limit, when nothing is said', async () => {
  const source = await openCheckpoint(demoModel, [layout]);
  const shape = { count: 12, length: 32 };
  const { total } = planRun(source, recipe, shape).forecast.memory;
  const batches = [undefined, total, total - 1].map(
    (memory) => planRun(source, recipe, { ...shape, ...(memory ? { memory } : {}) }).forecast.batch,
  );
  expect(batches).toEqual([8, 8, 4]);
  await source.close();
});

it('uses the room of parts that nobody holds again, and keeps what somebody holds', async () => {
  const path = join(at.folder, 'states');
  const store = diskStates(path);
  const values = (x: number) => new Float32Array(1000).fill(x);
  const first = store.put('a', values(1), [10, 100]);
  const fork = store.fork();
  fork.retain(first);
  store.release(first);
  const second = store.put('b', values(2), [10, 100]);
  expect([first.data[0], second.data[999]]).toEqual([1, 2]);
  fork.release(first);
  const third = store.put('c', values(3), [1000]);
  expect([third.data[500], second.data[0]]).toEqual([3, 2]);
  expect((await readFile(path)).length).toBe(8000);
  store.dispose();
  expect(existsSync(path)).toBe(true);
  fork.dispose();
  expect(existsSync(path)).toBe(false);
});

it('names the file and what to do when it cannot be written', async () => {
  await writeFile(join(at.folder, 'file'), '');
  expect(() => diskStates(join(at.folder, 'file', 'states'))).toThrow(/states: could not be written/);
  // A device that is always full.
  if (!existsSync('/dev/full')) return console.log('not checked: there is no /dev/full');
  const full = diskStates('/dev/full');
  expect(() => full.put('a', new Float32Array(10), [10])).toThrow(
    /full: no space left on the disk \(40 bytes were to be written\)/,
  );
});
