import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows } from '@q/calib';
import { createContext, referenceKernels } from '@q/core';
import {
  type Coordinator,
  type Job,
  objectName,
  openStore,
  type RunDescription,
  type Store,
  unpackParts,
} from '@q/distributed';
import { planRun, recipeJSON, runPlan } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandContext } from '../command.js';
import { endLossOf } from '../end-loss.js';
import type { Compute } from '../engine.js';
import { openModel, openValues } from '../open-model.js';
import { recipeFrom, recipeRequest } from '../recipe-flags.js';
import { builtin } from '../registry.js';
import { tinyConfigs, writeTinyModel } from '../testing/tiny-mixture.js';
import type { OpenRun } from './job-kind.js';
import { jobKinds } from './job-kinds.js';
import type { QueueRun } from './queue-run.js';
import { remoteRun } from './remote-run.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-window-work-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const compute = {
  kernels: referenceKernels,
  forward: () => createEngine({ backend: 'cpu' }),
  training: () => createEngine({ backend: 'cpu' }),
} as unknown as Compute;

/**
 * Workers in this process. Job number `n` goes to the worker that `choose` names; each has the states of its jobs.
 * @param change is given each result, and may change it before it is published
 */
function localQueue(
  store: Store,
  choose: (n: number) => string,
  change = (bytes: Uint8Array, _n: number) => bytes,
  own = compute,
) {
  const computed: string[] = [];
  const workers = new Map<string, Promise<OpenRun>>();
  const coordinate = async (run: RunDescription): Promise<Coordinator> => {
    const text = JSON.parse(JSON.stringify(run)) as RunDescription;
    const kind = jobKinds.find(({ name }) => name === run.kind);
    return {
      add: async () => {},
      async result(job: Job) {
        const name = objectName('results', job.id);
        if (!(await store.has(name))) {
          const worker = `${run.kind} ${choose(computed.length)}`;
          const opened = workers.get(worker) ?? kind?.open(text, { store, vocabulary: builtin, compute: own });
          workers.set(worker, opened as Promise<OpenRun>);
          computed.push(job.unit);
          const result = await ((await opened) as OpenRun).compute(job.unit, job.inputs);
          await store.publish(name, change(result, computed.length));
        }
        return (await store.read(name)) as Uint8Array;
      },
      again: (job) => store.remove(objectName('results', job.id)),
      close: async () => {},
    };
  };
  const command = { terminal: { progress() {} } } as unknown as CommandContext;
  const run: QueueRun = { store, command, coordinate, close: async () => {} };
  const close = async () => {
    for (const opened of workers.values()) await (await opened).close();
  };
  return { computed, run, close };
}

/** Runs of a tiny model with the flags of a recipe, on one machine or over workers. */
async function runsOf(
  name: string,
  config: Record<string, unknown>,
  flags: Record<string, unknown>,
  source = (path: string) => openModel(path, builtin),
) {
  const path = join(folder, name);
  await writeTinyModel(path, config);
  const checkpoint = await source(path);
  const calibration = readU16Windows((await readFile(join(path, 'ids.u16'))).subarray(0, 24 * 32), 16);
  const made = async (more: Record<string, unknown>) => {
    const all = { bits: 4, group: 16, seed: 3, ...flags, ...more };
    const { recipe } = await recipeFrom(all, builtin);
    const plan = planRun(checkpoint, recipe, { count: 24, length: 16, batch: 2, memory: 1e9 });
    const what = { request: await recipeRequest(all, builtin), rules: recipe.rules.length };
    return { plan, what: { ...what, kernels: referenceKernels.name } };
  };
  const quantize = async (out: string, more: Record<string, unknown>, run?: QueueRun) => {
    const { plan, what } = await made(more);
    const context = createContext({ kernels: referenceKernels, seed: 3 });
    const { layers, transforms } = await runPlan(plan, {
      ...{ out: join(folder, `${name}-${out}`), context, calibration },
      engine: () => createEngine({ backend: 'cpu' }),
      endLoss: (windows) => endLossOf(checkpoint, windows, compute, context),
      ...(run ? { remote: remoteRun(run, what) } : {}),
    });
    const weights = await readFile(join(folder, `${name}-${out}`, 'model.safetensors'));
    return { layers: { layers, transforms }, weights: weights.toString('base64') };
  };
  const store = (own: string) => openStore(join(folder, `${name}-${own}`), { make: true });
  return { quantize, store, checkpoint };
}

const llama = { ...tinyConfigs.mixtral, model_type: 'llama', num_hidden_layers: 3 };

/** A folder in 8 bits, made of a model folder, as values. */
async function roundedSource(path: string) {
  const checkpoint = await openModel(path, builtin);
  const { recipe } = await recipeFrom({ method: 'rtn', bits: 8, group: 16 }, builtin);
  await runPlan(planRun(checkpoint, recipe), {
    ...{ out: `${path}-8-bits`, context: createContext({ kernels: referenceKernels }) },
  });
  await checkpoint.close();
  return openValues(`${path}-8-bits`, builtin);
}

/** A store that loses the states of shards before blocks. */
function forgetful(store: Store): Store {
  return {
    ...store,
    async publish(name, bytes) {
      try {
        if ('own' in unpackParts<object>(bytes, name).header) return true;
      } catch {
        // A text, or a tensor.
      }
      return store.publish(name, bytes);
    },
  };
}

describe('windows over workers', () => {
  // `pairedTokens`: some shards have batches of both models, some have none of the unquantized one.
  it.each([
    ['one worker', () => 'a', false],
    ['two workers', (n: number) => (n % 3 === 0 ? 'a' : 'b'), false],
    ['workers that are replaced after two jobs', (n: number) => `${Math.floor(n / 2)}`, false],
    ['workers without the states of their shards', (n: number) => `${n % 3}`, true],
  ] as const)(
    'give the bytes and the report of one machine: %s',
    async (kind, choose, forgets) => {
      const { quantize, store, checkpoint } = await runsOf('llama', llama, { method: 'gptq', pairedTokens: 0.4 });
      const alone = await quantize(`alone ${kind}`, { windowShards: 5 });
      const own = await store(`store-${kind}`);
      const { run, computed, close } = localQueue(forgets ? forgetful(own) : own, choose);
      const shared = await quantize(kind, { windowShards: 5 }, run);
      await close();
      expect(shared.layers).toEqual(alone.layers);
      expect(shared.weights === alone.weights).toBe(true);
      // Four stages of three blocks.
      expect(computed.filter((unit) => unit.includes('shard'))).toHaveLength(3 * 4 * 5);
      await checkpoint.close();
    },
    60_000,
  );

  it('see the matrices that a quantized source keeps as the writing process sees them, in f16', async () => {
    const flags = { method: 'gptq', requantize: true, keep: ['*.o_proj'] };
    const { quantize, store, checkpoint } = await runsOf('rounded', llama, flags, roundedSource);
    const alone = await quantize('alone', { windowShards: 2 });
    const { run, close } = localQueue(await store('store'), () => 'a');
    const shared = await quantize('shared', { windowShards: 2 }, run);
    await close();
    expect(shared.weights === alone.weights).toBe(true);
    expect(checkpoint.tensors.get('model.layers.0.self_attn.o_proj.weight')?.dtype).toBe('F32');
    const written = await openModel(join(folder, 'rounded-shared'), builtin);
    expect(written.tensors.get('model.layers.0.self_attn.o_proj.weight')?.dtype).toBe('F16');
    await written.close();
    await checkpoint.close();
  });

  it.each(['gptq', 'awq'])(
    'go on after an interruption, compute a damaged result again, and leave no states in the store: %s',
    async (method) => {
      const { quantize, store, checkpoint } = await runsOf(`resumed-${method}`, llama, { method });
      const alone = await quantize('alone', { windowShards: 2 });
      const own = await store('store');
      const first = localQueue(
        own,
        () => 'a',
        (bytes, n) => {
          // In the third block: a block has jobs for 7 linears and for 4 stages (and a transform) of 2 shards.
          if (n === 37) throw new Error('the coordinator is interrupted');
          return bytes;
        },
      );
      await expect(quantize('shared', { windowShards: 2 }, first.run)).rejects.toThrow('is interrupted');
      await first.close();
      let damaged = '';
      const second = localQueue(
        own,
        () => 'b',
        (bytes, n) => {
          if (n !== 1) return bytes;
          damaged = second.computed[0];
          return bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));
        },
      );
      const shared = await quantize('shared', { windowShards: 2 }, second.run);
      await second.close();
      expect(shared.layers).toEqual(alone.layers);
      expect(shared.weights === alone.weights).toBe(true);
      expect(second.computed.every((unit) => unit.startsWith('model.layers.2'))).toBe(true);
      expect(second.computed.filter((unit) => unit === damaged)).toHaveLength(2);
      // Requests of the interrupted run stay: a worker may still read them.
      const names = await readdir(join(folder, `resumed-${method}-store`), { recursive: true, withFileTypes: true });
      for (const entry of names.filter((each) => each.isFile())) {
        const bytes = await readFile(join(entry.parentPath, entry.name));
        if (!bytes.subarray(0, 6).equals(Buffer.from('qparts'))) continue;
        const { header } = unpackParts<object>(bytes, entry.name);
        expect('own' in header || ('inputs' in header && !('written' in header)), JSON.stringify(header)).toBe(false);
      }
      await checkpoint.close();
    },
    60_000,
  );

  it.each([
    ['experts', tinyConfigs.mixtral, { method: 'gptq', layout: 'plain', embeddings: 'int8 g16', head: 'int8 g16' }],
    ['end-loss', llama, { method: 'gptq', objective: 'end-loss' }],
    ['awq', llama, { method: 'awq' }],
    // Two transforms, the first of which changes what the second one sees, and a method that compares with the
    // unquantized model.
    ['composed', llama, { method: 'gptq', transforms: ['rotate', 'smoothquant', 'awq'], layout: 'compressed-tensors' }],
    ['cache', llama, { method: 'gptq', kvCache: 'fp8', layout: 'compressed-tensors' }],
    // Static scales of inputs.
    ['static', llama, { method: 'smoothquant', level: 'o3', bits: undefined, group: undefined }],
  ] as const)(
    'give the bytes of one machine: %s',
    async (name, config, flags) => {
      const { quantize, store, checkpoint } = await runsOf(name, config, flags);
      const alone = await quantize('alone', { windowShards: 3 });
      const { run, computed, close } = localQueue(await store('store'), (n) => `${n % 2}`);
      const shared = await quantize('shared', { windowShards: 3 }, run);
      await close();
      expect(shared.layers).toEqual(alone.layers);
      expect(shared.weights === alone.weights).toBe(true);
      expect(computed.some((unit) => unit.includes('shard 3 of 3'))).toBe(true);
      await checkpoint.close();
    },
    60_000,
  );

  it('are refused by a worker with another engine, and one shard is the recipe without the option', async () => {
    const { quantize, store, checkpoint } = await runsOf('engine', llama, { method: 'gptq' });
    const other = { ...compute, forward: async () => ({ ...(await createEngine({ backend: 'cpu' })), name: 'other' }) };
    const { run } = localQueue(await store('store'), () => 'a', undefined, other as unknown as Compute);
    await expect(quantize('shared', { windowShards: 2 }, run)).rejects.toThrow(
      /sends its windows through the engine tfjs-cpu, and this worker has other, whose last bits differ/,
    );
    const [usual, one] = await Promise.all(
      [{}, { windowShards: 1 }].map((more) => recipeFrom({ method: 'gptq', ...more }, builtin)),
    );
    expect(recipeJSON(one.recipe)).toEqual(recipeJSON(usual.recipe));
    await checkpoint.close();
  }, 120_000);
});
