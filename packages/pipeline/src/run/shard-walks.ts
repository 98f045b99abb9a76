import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BlockWalk, memoryStates, type StateStore } from '@q/blockwise';
import { diskStates } from '@q/blockwise/disk';
import { type Collector, shardWindows, windowBatches } from '@q/calib';
import { decodeModule, type EncodedModule } from '@q/checkpoint';
import {
  type BlockDescription,
  type Context,
  dequantize,
  type ForwardEngine,
  type ModelDescription,
  SchemeError,
  type Tensor,
  type Transform,
} from '@q/core';
import { CacheRanges, type LargestCached } from '../blocks/cache-ranges.js';
import { comparedOutput } from '../blocks/collect.js';
import { collectThrough } from '../blocks/transform-block.js';
import { type ModelSource, rewriteModel } from '../plan/model-source.js';
import type { Plan } from '../plan/plan.js';
import { collectInput, type InputRequest, type InputStatistics } from './collect-input.js';
import { embedStreams } from './embed-streams.js';
import type { StagePlace, WindowSettings, WrittenWeights } from './remote-windows.js';

/** The weights that a run has written, as names under which they can be read. */
export interface WrittenNames {
  /** The quantized tables of embeddings; absent if there are none. */
  readonly tables?: string;
  /**
   * By block: first what transforms have changed before the first stage, then the linears of each stage. `null` where
   * there is nothing.
   */
  readonly blocks: readonly (readonly (string | null)[])[];
}

/** The hidden states of a shard before a block: of the quantized model, and of the unquantized one. */
export interface ShardStates {
  readonly own: readonly Float32Array[];
  readonly original: readonly Float32Array[];
}

/** The data of a run that a process reads and publishes to send windows through the model. */
export interface ShardWalksOptions<T> {
  readonly plan: Plan;
  readonly settings: WindowSettings;
  readonly engine: ForwardEngine<T>;
  readonly context: Context;
  /** Bytes that the states of all shards may take. Beyond it they are in files. */
  readonly memory: number;
  /** In this folder a folder is made for the files. */
  readonly folder: string;
  /** Reads weights that the run has written. */
  readonly readWritten: (name: string) => Promise<WrittenWeights>;
  /** States before a block that a process has published; undefined when there are none. */
  readonly readStates: (shard: number, block: number, written: WrittenNames) => Promise<ShardStates | undefined>;
  readonly publishStates: (shard: number, block: number, written: WrittenNames, states: ShardStates) => Promise<void>;
}

/** A place to which a shard is sent. */
export interface ShardPlace extends StagePlace {
  readonly shard: number;
  /** All weights that are written before it. */
  readonly written: WrittenNames;
}

/** A shard on its way through the model. */
interface HeldShard<T> {
  readonly walk: BlockWalk<T>;
  readonly original: BlockWalk<T> | undefined;
  block: number;
  /** The stage before which the states are. */
  stage: number;
  /** False before the first stage's input is computed. */
  begun: boolean;
  /** The largest keys and values of the block so far, for static scales of a cache. */
  ranges: CacheRanges | undefined;
  /** True if the unquantized model has gone through the stage already: its inputs are lost. */
  spent: boolean;
}

/**
 * Sends shards of the windows through the model for another process. It keeps the states of each shard that it gets, so
 * the next stage goes on from there. States that are not here are read from where another process has published them
 * before the block. If there are none either, the shard goes through all written blocks again: slow, with the same
 * bits.
 */
export class ShardWalks<T> {
  readonly #options: ShardWalksOptions<T>;
  readonly #model: ModelDescription;
  readonly #source: ModelSource;
  readonly #held = new Map<number, HeldShard<T>>();
  /** Without windows: it has the weights of a block as the source has them. */
  readonly #sourceWeights: BlockWalk<T>;
  /** Without windows: it has the weights of a block as they are written. The same walk without an unquantized model. */
  readonly #weights: BlockWalk<T>;
  /** The block whose weights are loaded, and the names of the written weights that have replaced others. */
  #loaded: { readonly block: number; readonly names: (string | null)[] } | undefined;
  /** The folder of files with states, made on first use. */
  #folder: string | undefined;
  #files = 0;

  constructor(options: ShardWalksOptions<T>) {
    const { plan, engine, settings, context } = options;
    const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
    const { model } = source;
    if (!model) throw plan.checkpoint.unknownArchitecture as Error;
    this.#options = options;
    this.#model = model;
    this.#source = source;
    const empty = () => {
      const { batch, windows } = settings;
      return new BlockWalk<T>({
        ...{ model, engine, batch },
        windows: { ids: new Int32Array(0), count: 0, length: windows.length },
      });
    };
    this.#sourceWeights = empty();
    this.#weights = settings.pairedTokens > 0 ? empty() : this.#sourceWeights;
  }

  /** The statistics of the inputs of a stage on the windows of a shard. */
  collect(place: ShardPlace, inputs: readonly InputRequest[]): Promise<readonly InputStatistics[]> {
    return this.#at(place, async (held) => {
      const { context, settings } = this.#options;
      const stage = this.#block(place.block).stages[place.stage];
      const { walk, original } = held;
      const partly = settings.pairedTokens < 1;
      const statistics: InputStatistics[] = [];
      for (const input of inputs) {
        if (original && comparedOutput(stage, input.kinds) !== undefined) held.spent = true;
        statistics.push(await collectInput(input, { stage, walk, original, partly, context }));
      }
      return statistics;
    });
  }

  /** The statistics that a transform needs of a block, one collector for each of its inputs (`transformInputs`). */
  collectBlock(place: ShardPlace, transform: Transform): Promise<readonly Collector[]> {
    return this.#at({ ...place, stage: -1 }, async ({ walk }) => {
      const ahead = walk.fork();
      try {
        return await collectThrough(transform, this.#block(place.block), {
          ...{ walk: ahead, context: this.#options.context },
        });
      } finally {
        ahead.dispose();
      }
    });
  }

  /** The largest keys and values of a block, before its last stage. */
  collectCache(place: ShardPlace): Promise<LargestCached> {
    const last = this.#block(place.block).stages.length - 1;
    return this.#at({ ...place, stage: last }, async ({ ranges }) => ranges?.largest ?? {});
  }

  async #at<R>(place: ShardPlace, act: (held: HeldShard<T>) => Promise<R>): Promise<R> {
    try {
      return await act(await this.#arrive(place));
    } catch (error) {
      // The states may be between two steps.
      this.#drop(place.shard);
      throw error;
    }
  }

  /** Forgets all states and weights. */
  async dispose(): Promise<void> {
    for (const shard of [...this.#held.keys()]) this.#drop(shard);
    this.#weights.clearWeights();
    this.#sourceWeights.clearWeights();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Where the states of a shard wait. */
  #states(): StateStore {
    const { settings, memory, folder } = this.#options;
    const { blocks, hiddenSize } = this.#model;
    const widest = Math.max(...blocks.flatMap(({ linears }) => linears.map(({ inFeatures }) => inFeatures)));
    const bytes = (1 + settings.pairedTokens) * 4 * settings.windows.ids.length * (hiddenSize + widest);
    if (bytes <= memory) return memoryStates();
    this.#folder ??= mkdtempSync(join(folder, 'q-windows-'));
    return diskStates(join(this.#folder, `${this.#files++}`));
  }

  #block(index: number): BlockDescription {
    const block = this.#model.blocks[index];
    if (!block) throw new SchemeError(`the model has no block ${index}`);
    return block;
  }

  #drop(shard: number): void {
    const held = this.#held.get(shard);
    this.#held.delete(shard);
    for (const walk of held ? walksOf(held) : []) {
      walk.clearWeights();
      walk.dispose();
    }
  }

  /** Brings the states of a shard before a stage. */
  async #arrive({ shard, block, stage, written }: ShardPlace): Promise<HeldShard<T>> {
    let held = this.#held.get(shard);
    if (held && isBeyond(held, { block, stage })) {
      this.#drop(shard);
      held = undefined;
    }
    if (!held || held.block < block) held = (await this.#published(shard, block, written)) ?? held;
    for (let before = block - 1; !held && before > 0; before--) held = await this.#published(shard, before, written);
    held ??= await this.#embedded(shard, written);
    const moved = held.block < block;
    while (held.block < block) {
      await this.#advance(held, this.#block(held.block).stages.length, written);
      Object.assign(held, { block: held.block + 1, stage: 0, begun: false });
    }
    if (moved) {
      const [own, original] = [held.walk, held.original].map((walk) => [...(walk?.hidden() ?? [])].map(copyOf));
      await this.#options.publishStates(shard, block, written, { own, original });
    }
    await this.#advance(held, stage, written);
    return held;
  }

  /** Sends the states through the stages of their block up to one. */
  async #advance(held: HeldShard<T>, stage: number, written: WrittenNames): Promise<void> {
    const { plan, context } = this.#options;
    const block = this.#block(held.block);
    await this.#load({ block: held.block, stage }, written);
    held.original?.borrowWeights(this.#sourceWeights);
    held.walk.borrowWeights(this.#weights);
    const walks = walksOf(held);
    if (stage < 0) return;
    if (!held.begun) for (const walk of walks) await context.profile.stage('forward', () => walk.begin(block));
    const attention = plan.cache?.modules[held.block];
    if (!held.begun) held.ranges = attention === undefined ? undefined : new CacheRanges(attention);
    held.begun = true;
    for (; held.stage < stage; held.stage++) {
      const see = held.ranges?.see;
      for (const walk of walks)
        await context.profile.stage('forward', () =>
          walk.run(block.stages[held.stage], walk === held.walk ? see : undefined),
        );
      held.spent = false;
    }
  }

  /** Loads the weights of a block, with the written ones of all stages before one. */
  async #load({ block, stage }: StagePlace, written: WrittenNames): Promise<void> {
    const wanted = (written.blocks[block] ?? []).slice(0, Math.max(0, stage) + 1);
    const { names = [] } = this.#loaded?.block === block ? this.#loaded : {};
    if (this.#loaded?.block !== block || names.length > wanted.length || names.some((name, i) => name !== wanted[i])) {
      this.#loaded = undefined;
      this.#weights.clearWeights();
      await this.#sourceWeights.load(this.#block(block).tensors, this.#source.weight);
      if (this.#weights !== this.#sourceWeights) this.#weights.borrowWeights(this.#sourceWeights);
      this.#loaded = { block, names: [] };
    }
    const loaded = this.#loaded.names;
    while (loaded.length < wanted.length) {
      const name = wanted[loaded.length];
      for (const [tensor, values] of await this.#written(name)) this.#weights.setWeight(tensor, values);
      loaded.push(name);
    }
  }

  async #written(name: string | null | undefined): Promise<Map<string, Tensor<'f32'>>> {
    const { plan, readWritten } = this.#options;
    if (name === null || name === undefined) return new Map();
    const { modules, tensors } = await readWritten(name);
    const values = new Map(tensors);
    for (const [module, encoded] of modules) values.set(`${module}.weight`, await decoded(plan, module, encoded));
    return values;
  }

  #open(shard: number): HeldShard<T> {
    const { settings, engine, context } = this.#options;
    const parts = shardWindows(settings.windows, settings.shards);
    const { windows } = parts[shard];
    const before = parts.slice(0, shard).flatMap((part) => windowBatches(part.windows, settings.batch));
    const open = () =>
      new BlockWalk<T>({
        ...{
          model: this.#model,
          engine,
          windows,
          batch: settings.batch,
          batchesBefore: before.length,
          signal: context.signal,
          store: this.#states(),
        },
      });
    this.#drop(shard);
    const original = settings.pairedTokens > 0 ? open() : undefined;
    const held = { walk: open(), original, block: 0, stage: 0, begun: false, spent: false, ranges: undefined };
    this.#held.set(shard, held);
    return held;
  }

  /** A shard whose states before a block another process has published. */
  async #published(shard: number, block: number, written: WrittenNames): Promise<HeldShard<T> | undefined> {
    const found = block > 0 ? await this.#options.readStates(shard, block, written) : undefined;
    if (!found) return undefined;
    const held = this.#open(shard);
    held.walk.resume(found.own);
    held.original?.resume(found.original, this.#options.settings.pairedTokens);
    held.block = block;
    return held;
  }

  async #embedded(shard: number, { tables }: WrittenNames): Promise<HeldShard<T>> {
    const { settings, context } = this.#options;
    const held = this.#open(shard);
    await embedStreams({
      ...{ source: this.#source, model: this.#model, walk: held.walk, original: held.original, context },
      ...{ pairedTokens: settings.pairedTokens, tables: await this.#written(tables) },
    });
    return held;
  }
}

const walksOf = <T>({ walk, original }: HeldShard<T>): readonly BlockWalk<T>[] =>
  original ? [original, walk] : [walk];

/** Whether the states before a stage cannot be computed from those of a shard. */
function isBeyond<T>(held: HeldShard<T>, { block, stage }: StagePlace): boolean {
  if (held.block !== block) return held.block > block;
  const wanted = Math.max(0, stage);
  return held.stage > wanted || (held.stage === wanted && held.spent);
}

const copyOf = (values: Float32Array) => values.slice();

async function decoded(plan: Plan, module: string, encoded: EncodedModule): Promise<Tensor<'f32'>> {
  const planned = plan.modules.get(module);
  if (!planned) throw new SchemeError(`${module}: the recipe quantizes no such linear`);
  return dequantize(await decodeModule(plan.recipe.layout, planned, encoded));
}
