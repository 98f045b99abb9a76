import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows } from '@q/calib';
import { createContext, referenceKernels } from '@q/core';
import { type Coordinator, type Job, objectName, openStore, type RunDescription, type Store } from '@q/distributed';
import { planRun, runPlan } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CommandContext } from '../command.js';
import type { Compute } from '../engine.js';
import { openModel } from '../open-model.js';
import { recipeFrom, recipeRequest } from '../recipe-flags.js';
import { builtin } from '../registry.js';
import { tinyConfigs, writeTinyModel } from '../testing/tiny-mixture.js';
import { version } from '../version.js';
import type { OpenRun } from './job-kind.js';
import type { QueueRun } from './queue-run.js';
import { remoteRun } from './remote-run.js';
import { solveWork } from './solve-work.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-solve-work-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A queue whose only worker computes in this process, as soon as it is asked for a result. */
function localQueue(store: Store, compute: Compute): { readonly run: QueueRun; readonly computed: string[] } {
  const computed: string[] = [];
  const coordinate = async (run: RunDescription): Promise<Coordinator> => {
    // What a worker knows of a run has been text.
    const text = JSON.parse(JSON.stringify(run)) as RunDescription;
    let opened: Promise<OpenRun> | undefined;
    const work = async (job: Job): Promise<Uint8Array> => {
      opened ??= solveWork.open(text, { store, vocabulary: builtin, compute });
      computed.push(job.unit);
      await store.publish(objectName('results', job.id), await (await opened).compute(job.unit, job.inputs));
      return (await store.read(objectName('results', job.id))) as Uint8Array;
    };
    return {
      add: async () => {},
      result: work,
      async again(job) {
        await store.remove(objectName('results', job.id));
      },
      close: async () => (await opened)?.close(),
    };
  };
  return { computed, run: { store, command: {} as CommandContext, coordinate, close: async () => {} } };
}

it('solves experts, and those that no token reached, to the bytes of one process, and each of them once', async () => {
  const model = join(folder, 'model');
  await writeTinyModel(model, tinyConfigs.mixtral);
  const checkpoint = await openModel(model, builtin);
  const calibration = readU16Windows((await readFile(join(model, 'ids.u16'))).subarray(0, 24 * 32), 16);
  const flags = { method: 'gptq', bits: 4, group: 16, seed: 3 };
  const { recipe } = await recipeFrom(flags, builtin);
  const plan = planRun(checkpoint, recipe, { count: 24, length: 16, memory: 1e9 });
  const compute = { kernels: referenceKernels } as Compute;
  const store = await openStore(join(folder, 'store'), { make: true });
  const { run, computed } = localQueue(store, compute);
  const quantize = async (out: string, remote?: ReturnType<typeof remoteRun>) => {
    const context = createContext({ kernels: referenceKernels, seed: 3 });
    const engine = () => createEngine({ backend: 'cpu' });
    const { layers } = await runPlan(plan, { out, context, calibration, engine, ...(remote ? { remote } : {}) });
    return { layers, weights: (await readFile(join(out, 'model.safetensors'))).toString('base64') };
  };
  const what = { checkpoint, request: await recipeRequest(flags, builtin), rules: recipe.rules.length };
  const remote = () => remoteRun(run, { ...what, kernels: referenceKernels.name });
  const alone = await quantize(join(folder, 'alone'));
  const shared = await quantize(join(folder, 'shared'), remote());
  expect(shared.layers).toEqual(alone.layers);
  expect(shared.weights === alone.weights).toBe(true);
  expect(alone.layers.some(({ outcome }) => outcome.kind === 'fallback')).toBe(true);
  expect([...computed].sort()).toEqual([...plan.modules.keys()].sort());
  // Inputs are removed once they are used; results stay, and nothing is computed again.
  const left = await readdir(join(folder, 'store', 'tensors'), { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile())).toEqual([]);
  const again = await quantize(join(folder, 'again'), remote());
  expect(again.weights === alone.weights).toBe(true);
  expect(computed).toHaveLength(plan.modules.size);
  await checkpoint.close();
}, 60_000);

it('refuses inputs that are not in the store, and names the linear', async () => {
  const model = join(folder, 'other');
  await writeTinyModel(model, tinyConfigs.qwen2_moe);
  const checkpoint = await openModel(model, builtin);
  const flags = { method: 'gptq', bits: 4, group: 16 };
  const { recipe } = await recipeFrom(flags, builtin);
  const plan = planRun(checkpoint, recipe);
  const store = await openStore(join(folder, 'store'), { make: true });
  const compute = { kernels: referenceKernels } as Compute;
  let described: RunDescription | undefined;
  const run: QueueRun = {
    ...{ store, command: {} as CommandContext, close: async () => {} },
    async coordinate(description) {
      described = description;
      return {
        add: async () => {},
        result: async () => new Uint8Array(0),
        again: async () => {},
        close: async () => {},
      };
    },
  };
  const request = await recipeRequest(flags, builtin);
  const { name: kernels } = referenceKernels;
  await remoteRun(run, { request, rules: recipe.rules.length, kernels }).solver(plan);
  expect(described).toMatchObject({ kind: 'solve', version, kernels });
  const opened = await solveWork.open(described as RunDescription, { store, vocabulary: builtin, compute });
  const [unit] = plan.modules.keys();
  await expect(opened.compute(unit, objectName('tensors', 'f'.repeat(64)))).rejects.toThrow(
    new RegExp(`lacks tensors/ff/f+, the weight of ${unit}`),
  );
  await expect(opened.compute('no.such', undefined)).rejects.toThrow(
    /no\.such: the recipe of the job quantizes no such/,
  );
  await opened.close();
  await checkpoint.close();
});
