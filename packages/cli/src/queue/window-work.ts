import { randomBytes } from 'node:crypto';
import { tmpdir, totalmem } from 'node:os';
import { type Collector, createCollector, shardWindows, type WindowShard, type Windows } from '@q/calib';
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
  inputCollectors,
  type LargestCached,
  type Plan,
  type RemoteWindows,
  requestedInput,
  type ShardPlace,
  ShardWalks,
  type StagePlace,
  transformInputs,
  transformsOf,
  type WindowSettings,
  type WrittenNames,
} from '@q/pipeline';
import { version } from '../version.js';
import { errorOf, type JobFailure, resultOrFailure } from './job-failure.js';
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

/**
 * The header of an object that requests statistics of a shard. Its parts are the weights of tokens and the factors of
 * inputs, of those that have them.
 */
interface RequestHeader extends ShardPlace {
  /** Index of the transform that needs statistics of the whole block. Then there are no inputs. */
  readonly transform?: number;
  /** True: the largest keys and values of the block are requested. */
  readonly cache?: boolean;
  readonly inputs: readonly RequestedInput[];
}

interface RequestedInput {
  /** The first linear that reads it. */
  readonly module: string;
  /** Names of the statistics. */
  readonly kinds: readonly string[];
  readonly weighted: boolean;
  readonly scaled: boolean;
}

/** The header of the statistics of a shard, in the order of the inputs. */
type ResultHeader =
  | { readonly inputs: readonly StatisticsHeader[]; readonly cache?: LargestCached }
  | { readonly failure: JobFailure };

/**
 * Lets the workers of a queue send the windows of a calibrated run through the model. For each stage of a block there
 * is one job for each shard. The store has the statistics of a shard until this process has added them, and the states
 * of all shards before one block.
 */
export async function remoteWindows(
  run: QueueRun,
  { request, rules, kernels }: RemoteQuantization,
  plan: Plan,
  { windows, ...settings }: WindowSettings,
): Promise<RemoteWindows> {
  const { store, command } = run;
  const { signal, terminal } = command;
  const model = await publishText(
    store,
    await storeModel(plan.checkpoint, store, { signal, progress: terminal.progress }),
  );
  const description: RunDescription = {
    ...{ kind: windowWork.name, version, kernels },
    ...describePlan(plan, { request, rules, model }),
    ...({ ...settings, windows: await publishWindows(store, windows) } satisfies WindowRun),
  };
  const runSum = sumOfParts(JSON.stringify(description));
  const coordinator = await run.coordinate(description);
  const shards = shardWindows(windows, settings.shards);
  const blocks = (plan.model as ModelDescription).blocks;
  const written = blocks.map(({ stages }) => [null, ...stages].map((): string | null => null));
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
  const writtenBefore = (block: number): WrittenNames => ({
    ...(tables === undefined ? {} : { tables }),
    blocks: written.slice(0, block + 1),
  });
  const removeStates = async (block: number) => {
    for (const shard of shards.keys()) await remove(statesName(runSum, shard, block, writtenBefore(block)));
  };
  /** Adds a job for each shard, and gives the results in order. */
  async function* each<R>(
    what: string,
    { block, stage, ...more }: StagePlace & Pick<RequestHeader, 'inputs' | 'transform' | 'cache'>,
    partsOf: (shard: WindowShard) => readonly Float32Array[],
    read: (bytes: Uint8Array, object: string) => R,
  ): AsyncGenerator<R> {
    const jobs: Job[] = [];
    for (const [index, shard] of shards.entries()) {
      const bytes = packParts<RequestHeader>({
        header: { ...{ block, stage, shard: index, written: writtenBefore(block) }, ...more },
        parts: partsOf(shard).map(bytesOfArray),
      });
      const name = objectName('runs', sumOfParts(own, `${objects++}`));
      await store.publish(name, bytes);
      const unit = `${blocks[block].prefix}, ${what}, shard ${index + 1} of ${shards.length}`;
      jobs.push({ id: sumOfParts('windows', runSum, bytes), unit, inputs: name });
    }
    await coordinator.add(jobs);
    for (const job of jobs) {
      const object = objectName('results', job.id);
      yield await resultOf(coordinator, job, (bytes) => read(bytes, object));
      await remove(object);
      await store.remove(job.inputs as string);
    }
    if (current !== undefined && current !== block) await removeStates(current);
    current = block;
  }
  return {
    async written(place, weights) {
      const name = weights.modules.size + weights.tensors.size === 0 ? null : await publishWritten(store, weights);
      if (place) written[place.block][place.stage + 1] = name;
      else tables = name ?? undefined;
    },
    collect(place, inputs) {
      const requested = inputs.map(
        ({ input, kinds: own, tokenWeights, inputScales }): RequestedInput => ({
          module: input.modules[0].linear.module,
          kinds: own.map(({ name }) => name),
          ...{ weighted: tokenWeights !== undefined, scaled: inputScales !== undefined },
        }),
      );
      const partsOf = ({ start, windows: { ids } }: WindowShard) =>
        inputs.flatMap(({ tokenWeights, inputScales }) => [
          ...(tokenWeights ? [tokenWeights.subarray(start, start + ids.length)] : []),
          ...(inputScales ? [inputScales] : []),
        ]);
      return each(`stage ${place.stage + 1}`, { ...place, inputs: requested }, partsOf, (bytes, object) => {
        const next = collectorsIn(bytes, kinds, object);
        return inputs.map((input) => inputCollectors(input, next));
      });
    },
    collectBlock(block, index) {
      const transform = transformsOf(plan.recipe)[index];
      const inputs = transformInputs(transform, blocks[block]);
      const place = { block, stage: -1, transform: index, inputs: [] };
      return each(
        transform.name,
        place,
        () => [],
        (bytes, object) => {
          const next = collectorsIn(bytes, kinds, object);
          return inputs.map(({ inFeatures, modules }) => next(transform.needs, inFeatures, modules[0]));
        },
      );
    },
    collectCache(block) {
      const place = { block, stage: -1, cache: true, inputs: [] };
      return each(
        'its cache',
        place,
        () => [],
        (bytes, object) => unpackResult(bytes, object).header.cache ?? {},
      );
    },
    async finish() {
      if (current !== undefined) await removeStates(current);
      for (const name of removed) await store.remove(name);
    },
    close: () => coordinator.close(),
  };
}

const bytesOfArray = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Statistics of a shard, and their kinds. */
interface Collected {
  readonly collector: Collector;
  readonly kinds: readonly Statistic<any>[];
}

function packResult(collected: readonly Collected[]): Uint8Array {
  const all = collected.map(({ collector: { statistics, tokens }, kinds }) =>
    describeStatistics({ statistics, tokens, kinds }),
  );
  return packParts<ResultHeader>({
    header: { inputs: all.map(({ header }) => header) },
    parts: all.flatMap(({ parts }) => parts),
  });
}

/**
 * Makes collectors with the statistics of a result, one after the other.
 * @throws the error of the method on the worker; FormatError when the result is damaged
 */
function collectorsIn(bytes: Uint8Array, kinds: ReadonlyMap<string, Statistic<any>>, object: string) {
  const { header, parts } = unpackResult(bytes, object);
  let [index, at] = [0, 0];
  return (wanted: readonly Statistic<any>[], width: number, module: string): Collector => {
    const own = header.inputs[index++];
    const found = statesOf(own, parts.slice(at), kinds, object);
    at += found.parts;
    return createCollector(wanted, width, module, { tokens: own.tokens, states: found.states });
  };
}

/** @throws the error of the method on the worker; FormatError when the result is damaged */
function unpackResult(bytes: Uint8Array, object: string) {
  const { header, parts } = unpackParts<ResultHeader>(bytes, object);
  if ('failure' in header) throw errorOf(header.failure);
  return { header, parts };
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
        const { header, parts } = await readParts<RequestHeader>(store, inputs, `the request of ${unit}`);
        return resultOrFailure(async () => {
          if (header.cache) {
            const cache = await walks.collectCache(header);
            return packParts<ResultHeader>({ header: { inputs: [], cache }, parts: [] });
          }
          if (header.transform !== undefined) {
            const transform = transformsOf(plan.recipe)[header.transform];
            const found = await walks.collectBlock(header, transform);
            return packResult(found.map((collector) => ({ collector, kinds: transform.needs })));
          }
          const requests = requestsOf(header, parts, plan, unit);
          const found = await walks.collect(header, requests);
          return packResult(
            found.flatMap(({ collector, ranges }, i) => [
              { collector, kinds: requests[i].kinds },
              ...(ranges === collector ? [] : [{ collector: ranges, kinds: [absMaxStat] }]),
            ]),
          );
        });
      },
      async close() {
        await walks.dispose();
        await engine.dispose();
        await checkpoint.close();
      },
    };
  },
};

function requestsOf(
  { inputs, ...place }: RequestHeader,
  parts: readonly Uint8Array[],
  plan: Plan,
  unit: string,
): readonly InputRequest[] {
  const known = statisticsByName(plan);
  let at = 0;
  const next = () => viewBytes('f32', parts[at++]) as Float32Array;
  return inputs.map(({ module, kinds, weighted, scaled }): InputRequest => {
    const input = requestedInput(plan, place, module, weighted);
    if (!input) throw new StoreError(`${unit}: the recipe of the job reads no input of ${module}`);
    return {
      input,
      kinds: kinds.map((name) => known.get(name) as Statistic<any>),
      ...(weighted ? { tokenWeights: next() } : {}),
      ...(scaled ? { inputScales: next() } : {}),
    };
  });
}
