import { randomBytes } from 'node:crypto';
import { tmpdir, totalmem } from 'node:os';
import { createCollector, shardWindows, type Windows } from '@q/calib';
import { absMaxStat, createContext, type ModelDescription, type Statistic, viewBytes } from '@q/core';
import {
  type Job,
  objectName,
  packParts,
  RefusedRunError,
  type RunDescription,
  type Store,
  StoreError,
  sumOfParts,
  unpackParts,
} from '@q/distributed';
import {
  type InputRequest,
  type InputStatistics,
  inputCollectors,
  type Plan,
  type RemoteWindows,
  requestedInput,
  type ShardRequest,
  ShardWalks,
  type StagePlace,
  type WindowSettings,
  type WrittenNames,
} from '@q/pipeline';
import { version } from '../version.js';
import { errorOf, failureOf, type JobFailure } from './job-failure.js';
import type { JobKind } from './job-kind.js';
import { resultOf } from './linear-result.js';
import {
  describeStatistics,
  readParts,
  type StatisticsHeader,
  statesOf,
  statisticsByName,
} from './packed-statistics.js';
import { describePlan, openPlannedRun } from './planned-run.js';
import type { QueueRun } from './queue-run.js';
import type { RemoteQuantization } from './remote-run.js';
import { publishText, storeModel } from './stored-model.js';
import { publishStates, publishWritten, readStates, statesName, unpackWritten } from './window-states.js';

/** The settings that all window jobs of a run share. */
interface WindowRun extends Omit<WindowSettings, 'windows'> {
  /** Name of the object with the windows. */
  readonly windows: string;
}

/** The header of an object with windows: its parts are ids, and lengths if they differ. */
interface WindowsHeader {
  readonly count: number;
  readonly length: number;
}

/** The header of an object that requests statistics of a shard. */
interface RequestHeader extends StagePlace {
  readonly shard: number;
  /** The first linear of each input. Inputs with weights of tokens have a part, in order. */
  readonly inputs: readonly { readonly module: string; readonly weighted: boolean }[];
  readonly written: WrittenNames;
}

/** The header of the statistics of a shard. */
type ResultHeader =
  | { readonly inputs: readonly { readonly sums: StatisticsHeader; readonly ranges?: StatisticsHeader }[] }
  | { readonly failure: JobFailure };

/**
 * Lets the workers of a queue send the windows of a calibrated run through the model. For each stage of a block there
 * is one job for each shard. The store has the statistics of a shard until this process has added them, and the states
 * of all shards before one block.
 */
export async function remoteWindows(
  run: QueueRun,
  { checkpoint, request, rules, kernels }: RemoteQuantization,
  plan: Plan,
  { windows, ...settings }: WindowSettings,
): Promise<RemoteWindows> {
  const { store, command } = run;
  const { signal, terminal } = command;
  const model = await publishText(store, await storeModel(checkpoint, store, { signal, progress: terminal.progress }));
  const description: RunDescription = {
    ...{ kind: windowWork.name, version, kernels },
    ...describePlan(plan, { request, rules, model }),
    ...({ ...settings, windows: await publishWindows(store, windows) } satisfies WindowRun),
  };
  const runSum = sumOfParts(JSON.stringify(description));
  const coordinator = await run.coordinate(description);
  const shards = shardWindows(windows, settings.shards);
  const blocks = (plan.model as ModelDescription).blocks;
  const stages = blocks.map((block) => block.stages.map((): string | null => null));
  const kinds = statisticsByName(plan);
  // Requests are removed after use: two runs of one store must not remove each other's.
  const own = randomBytes(16).toString('hex');
  let tables: string | undefined;
  let objects = 0;
  /** The block whose states the workers have published. */
  let current: number | undefined;
  /** Objects that are not needed again. A late worker may publish one after it was removed. */
  const removed = new Set<string>();
  const remove = async (name: string) => {
    removed.add(name);
    await store.remove(name);
  };
  const writtenNow = (): WrittenNames => ({ ...(tables === undefined ? {} : { tables }), stages });
  const removeStates = async (block: number) => {
    for (const shard of shards.keys()) await remove(statesName(runSum, shard, block, writtenNow()));
  };
  return {
    async written(place, modules) {
      const name = await publishWritten(store, modules);
      if (place) stages[place.block][place.stage] = name;
      else tables = name;
    },
    async *collect(place, inputs) {
      const written = { ...writtenNow(), stages: stages.slice(0, place.block + 1) };
      const jobs: Job[] = [];
      for (const [shard, { start, windows: part }] of shards.entries()) {
        const bytes = packRequest({ ...place, shard, inputs, written }, start, part.ids.length);
        const name = objectName('runs', sumOfParts(own, `${objects++}`));
        await store.publish(name, bytes);
        const { prefix } = blocks[place.block];
        const unit = `${prefix}, stage ${place.stage + 1}, shard ${shard + 1} of ${shards.length}`;
        jobs.push({ id: sumOfParts('windows', runSum, bytes), unit, inputs: name });
      }
      await coordinator.add(jobs);
      for (const job of jobs) {
        const object = objectName('results', job.id);
        yield await resultOf(coordinator, job, (bytes) => readResult(bytes, inputs, kinds, object));
        await remove(object);
        await store.remove(job.inputs as string);
      }
      if (current !== undefined && current !== place.block) await removeStates(current);
      current = place.block;
    },
    async finish() {
      if (current !== undefined) await removeStates(current);
      for (const name of removed) await store.remove(name);
    },
    close: () => coordinator.close(),
  };
}

function packRequest({ inputs, ...place }: ShardRequest, start: number, tokens: number): Uint8Array {
  return packParts<RequestHeader>({
    header: {
      ...place,
      inputs: inputs.map(({ input, tokenWeights }) => ({
        module: input.modules[0].linear.module,
        weighted: tokenWeights !== undefined,
      })),
    },
    parts: inputs.flatMap(({ tokenWeights }) =>
      tokenWeights ? [bytesOfArray(tokenWeights.subarray(start, start + tokens))] : [],
    ),
  });
}

const bytesOfArray = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

function packResult(inputs: readonly InputRequest[], collected: readonly InputStatistics[]): Uint8Array {
  const all = collected.map(({ collector, ranges }, index) => ({
    sums: describeStatistics({ ...parts(collector), kinds: inputs[index].kinds }),
    ...(ranges === collector ? {} : { ranges: describeStatistics({ ...parts(ranges), kinds: [absMaxStat] }) }),
  }));
  return packParts<ResultHeader>({
    header: {
      inputs: all.map(({ sums, ranges }) => ({ sums: sums.header, ...(ranges ? { ranges: ranges.header } : {}) })),
    },
    parts: all.flatMap(({ sums, ranges }) => [...sums.parts, ...(ranges?.parts ?? [])]),
  });
}

const parts = ({ statistics, tokens }: InputStatistics['collector']) => ({ statistics, tokens });

/** @throws the error of the method on the worker; FormatError when the result is damaged */
function readResult(
  bytes: Uint8Array,
  inputs: readonly InputRequest[],
  kinds: ReadonlyMap<string, Statistic<any>>,
  object: string,
): readonly InputStatistics[] {
  const { header, parts: all } = unpackParts<ResultHeader>(bytes, object);
  if ('failure' in header) throw errorOf(header.failure);
  let at = 0;
  return header.inputs.map(({ sums, ranges }, index) => {
    const headers = [sums, ranges ?? sums];
    let next = 0;
    return inputCollectors(inputs[index], (wanted, width, module) => {
      const own = headers[next++];
      const found = statesOf(own, all.slice(at), kinds, object);
      at += found.parts;
      return createCollector(wanted, width, module, { tokens: own.tokens, states: found.states });
    });
  });
}

async function publishWindows(store: Store, { ids, count, length, lengths }: Windows): Promise<string> {
  const bytes = packParts<WindowsHeader>({
    header: { count, length },
    parts: [ids, ...(lengths ? [lengths] : [])].map(bytesOfArray),
  });
  const name = objectName('tensors', sumOfParts(bytes));
  await store.publish(name, bytes);
  return name;
}

async function readWindows(store: Store, name: string): Promise<Windows> {
  const { header, parts: arrays } = await readParts<WindowsHeader>(store, name, 'the calibration windows');
  const [ids, lengths] = arrays.map((part) => viewBytes('i32', part) as Int32Array);
  return { ids, ...header, ...(lengths ? { lengths } : {}) };
}

/** Sends shards of the windows through the model for the process that writes the folder. */
export const windowWork: JobKind = {
  name: 'windows',
  async open(run, { store, vocabulary, compute }) {
    const { windows: windowsName, shards, batch, pairedTokens, engine: engineName } = run as unknown as WindowRun;
    const { checkpoint, plan } = await openPlannedRun(run, store, vocabulary);
    const model = plan.model as ModelDescription;
    const engine = await compute.forward(model, true);
    if (engine.name !== engineName) {
      await engine.dispose();
      await checkpoint.close();
      throw new RefusedRunError(
        `the run sends its windows through the engine ${engineName}, and this worker has ${engine.name}, whose last bits differ: start the worker with the same --engine`,
      );
    }
    const context = createContext({ kernels: compute.kernels, seed: plan.recipe.seed });
    const windows = await readWindows(store, windowsName);
    const settings: WindowSettings = { windows, shards, batch, pairedTokens, engine: engineName };
    const runSum = sumOfParts(JSON.stringify(run));
    const walks = new ShardWalks({
      ...{ plan, settings, engine, context, memory: totalmem() / 2, folder: tmpdir() },
      async readWritten(name) {
        const bytes = await store.read(name);
        if (!bytes) throw new StoreError(`${store.name}: lacks ${name}, linears that the run has written`);
        return unpackWritten(bytes, name);
      },
      readStates: (shard, block, written) => readStates(store, statesName(runSum, shard, block, written)),
      publishStates: (shard, block, written, found) =>
        publishStates(store, statesName(runSum, shard, block, written), found),
    });
    return {
      async compute(unit, inputs = '') {
        const request = await readRequest(store, inputs, unit, plan);
        try {
          return packResult(request.inputs, await walks.collect(request));
        } catch (error) {
          const failure = failureOf(error);
          if (!failure) throw error;
          return packParts<ResultHeader>({ header: { failure }, parts: [] });
        }
      },
      async close() {
        await walks.dispose();
        await engine.dispose();
        await checkpoint.close();
      },
    };
  },
};

async function readRequest(store: Store, name: string, unit: string, plan: Plan): Promise<ShardRequest> {
  const { header, parts: weights } = await readParts<RequestHeader>(store, name, `the request of ${unit}`);
  const { inputs, ...place } = header;
  let at = 0;
  return {
    ...place,
    inputs: inputs.map(({ module, weighted }): InputRequest => {
      const tokenWeights = weighted ? (viewBytes('f32', weights[at++]) as Float32Array) : undefined;
      const input = requestedInput(plan, place, module, tokenWeights);
      if (!input) throw new StoreError(`${name}: ${unit} has no input of ${module}`);
      return input;
    }),
  };
}
