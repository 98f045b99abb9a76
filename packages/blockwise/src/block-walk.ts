import { shardWindows, type WindowBatch, type Windows, windowBatches } from '@q/calib';
import type {
  BlockDescription,
  BlockWeights,
  CacheSite,
  ForwardEngine,
  GatheredGrams,
  Kernels,
  ModelDescription,
  Runtime,
  Stage,
  StageState,
  Tensor,
} from '@q/core';
import { elementCount, yieldToEventLoop } from '@q/core';
import { createRuntime, wrapRuntime } from '@q/models';
import { type HostPart, memoryStates, type StateStore } from './state-store.js';
import { beginStep, blockStep, type Step, stageStep } from './steps.js';
import type { WindowTokens } from './window-tokens.js';

/** The state of a batch between two stages, waiting on the host. */
export interface HostState {
  readonly parts: Readonly<Record<string, HostPart>>;
}

/** The part of a state that holds what a linear gave, see {@link BlockWalk.advance}. */
const outputPart = 'linear output';

/** Inputs of linears: `x` is `[tokens, width]`. */
export interface StagePart {
  readonly x: Float32Array;
  readonly tokens: number;
  readonly width: number;
  /** Which tokens of the batch the rows are, in rising order; absent when they are all of them. */
  readonly tokenOf?: Float32Array;
}

/** Called with keys or values of one batch as a cache gets them, positions applied: `[tokens, kvHeads*headDim]`. */
export type SeeCache = (site: CacheSite, values: Float32Array) => void;

export interface BlockWalkOptions<T> {
  readonly model: ModelDescription;
  readonly engine: Pick<ForwardEngine<T>, 'ops' | 'gatherGrams'>;
  readonly windows: Windows;
  /** Windows of the full length that are computed together. */
  readonly batch: number;
  /** Shards into which the windows are cut. No batch has windows of two shards. Default: 1. */
  readonly shards?: number;
  /** Batches of other walks before those of this one: a share of the batches is a share of all. Default: 0. */
  readonly batchesBefore?: number;
  /** Ends the walk between two batches. */
  readonly signal?: AbortSignal;
  /** Where states wait; in memory when absent. */
  readonly store?: StateStore;
  /** Weights that are on the engine already; whoever uploaded them disposes of them. */
  readonly weights?: ReadonlyMap<string, T>;
  /**
   * Wraps the runtime of the weights that {@link BlockWalk.load} has loaded: quantized activations, int8 linears, a
   * quantized cache. It is told the names of the tensors in the runtime, so that it can prepare what it needs for them,
   * and no more.
   */
  readonly wrap?: (runtime: Runtime<T>, tensors: readonly string[]) => Runtime<T> | Promise<Runtime<T>>;
}

/**
 * Windows on their way through a model, stage by stage or block by block: for calibration, evaluation, sensitivities
 * and training of blocks. Between two steps every batch waits on the host, so the engine holds one block's weights and
 * one batch, and a stage is computed once, with its final weights.
 */
export class BlockWalk<T> {
  readonly model: ModelDescription;
  readonly windows: Windows;
  /** All batches of the windows, also those that do not go through the model. */
  readonly windowBatches: readonly WindowBatch[];
  /** The batches of each shard of the windows, as numbers: `[from, to)`. */
  readonly shards: readonly { readonly from: number; readonly to: number }[];
  private readonly store: StateStore;
  private states: HostState[] = [];
  /** Which of them is that of a batch; none where the batch does not go through the model. */
  private places: (number | undefined)[] = [];
  private weights: Map<string, T>;
  /** The runtime of `weights`, wrapped. */
  private wrapped: Runtime<T> | undefined;
  /** Places of states that {@link advance} has sent through the current stage already. */
  private readonly ahead = new Set<number>();
  /** Names of weights that another walk has uploaded and disposes of. */
  private borrowed: Set<string>;

  constructor(private readonly options: BlockWalkOptions<T>) {
    const { model, windows, batch, shards = 1, store = memoryStates(), weights = [] } = options;
    this.model = model;
    this.windows = windows;
    this.store = store;
    this.weights = new Map(weights);
    this.borrowed = new Set(this.weights.keys());
    const all: WindowBatch[] = [];
    this.shards = shardWindows(windows, shards).map((shard) => {
      const from = all.length;
      for (const each of windowBatches(shard.windows, batch))
        all.push({ ...each, first: shard.first + each.first, start: shard.start + each.start });
      return { from, to: all.length };
    });
    this.windowBatches = all;
  }

  /** Forgets all states. Weights belong to the walk that loaded them: see {@link clearWeights}. */
  dispose(): void {
    this.drop(this.states);
    this.states = [];
    this.store.dispose();
  }

  /**
   * What sums Gram matrices of this walk's activations. Kernels that keep no sums, such as a GPU's, were requested: the
   * engine does not take over from them.
   */
  gatherGrams(kernels: Kernels): GatheredGrams {
    const own = kernels.gatherGrams();
    return (own.kept ? this.options.engine.gatherGrams?.(kernels) : undefined) ?? own;
  }

  get batches(): number {
    return this.states.length;
  }

  private runtimeWith(replaced: ReadonlyMap<string, T> = new Map()): Runtime<T> {
    const weights = { get: (name: string) => replaced.get(name) ?? this.weights.get(name) };
    return createRuntime(this.options.engine.ops, weights, { ties: this.model.ties });
  }

  private runtime(): Runtime<T> {
    return this.wrapped ?? this.runtimeWith();
  }

  /** Uploads tensors instead of those that are loaded, each as soon as it is read. */
  async load(names: readonly string[], read: (name: string) => Promise<Tensor<'f32'>>): Promise<void> {
    this.clearWeights();
    for (const name of names) this.setWeight(name, await read(name));
    this.wrapped = await this.options.wrap?.(this.runtimeWith(), names);
  }

  /** The loaded weights, on the engine. */
  get loaded(): ReadonlyMap<string, T> {
    return this.weights;
  }

  /** Replaces (or adds) a weight of the loaded set. */
  setWeight(name: string, tensor: Tensor<'f32'>): void {
    const old = this.weights.get(name);
    if (old !== undefined && !this.borrowed.delete(name)) this.options.engine.ops.dispose(old);
    this.weights.set(name, this.options.engine.ops.fromTensor(tensor));
  }

  /** Takes a weight out of the loaded set. */
  dropWeight(name: string): void {
    const old = this.weights.get(name);
    if (old !== undefined && !this.borrowed.delete(name)) this.options.engine.ops.dispose(old);
    this.weights.delete(name);
  }

  /** Uses the weights that another walk of the same engine has loaded: they are on the engine once. */
  borrowWeights(from: BlockWalk<T>): void {
    // A fork has them already.
    if (from.weights === this.weights) return;
    this.clearWeights();
    this.weights = new Map(from.weights);
    this.borrowed = new Set(from.weights.keys());
  }

  /** Forgets the loaded weights. A walk that borrows is cleared before the one it borrows from. */
  clearWeights(): void {
    this.wrapped = undefined;
    for (const [name, handle] of this.weights) if (!this.borrowed.has(name)) this.options.engine.ops.dispose(handle);
    this.weights.clear();
    this.borrowed.clear();
  }

  /**
   * A walk that goes on by itself, on the same loaded weights; this one stays where it is.
   * @param from the states to go on from: here when absent, or what {@link compute} gave for all batches
   */
  fork(from?: readonly HostState[]): BlockWalk<T> {
    const copy = new BlockWalk<T>({ ...this.options, store: from ? memoryStates() : this.store.fork() });
    copy.states = [...(from ?? this.states)];
    copy.places = this.places;
    copy.weights = this.weights;
    copy.borrowed = this.borrowed;
    copy.wrapped = this.wrapped;
    copy.hold(copy.states);
    return copy;
  }

  /**
   * Token ids -> the first block's input, kept as `residual`.
   * @param share of the batches, evenly spaced: the others do not go through the model
   * @param tokens those of which the loaded table of tokens has rows; all when absent
   */
  async embed(share = 1, tokens?: WindowTokens): Promise<void> {
    const runtime = this.runtime();
    for (const { ids, count, length } of this.take(share)) {
      await yieldToEventLoop(this.options.signal);
      const rows = tokens?.rowsOf(ids) ?? ids;
      this.states.push(await this.download(() => ({ residual: this.model.embed(runtime, rows, count, length) })));
    }
  }

  /** Forgets all states. Returns the batches that go through the model, in the order in which their states follow. */
  private take(share: number): readonly WindowBatch[] {
    this.drop(this.states);
    this.states = [];
    const taken: WindowBatch[] = [];
    const { batchesBefore = 0 } = this.options;
    this.places = this.windowBatches.map((batch, own) => {
      const index = batchesBefore + own;
      return Math.ceil((index + 1) * share) > Math.ceil(index * share) ? taken.push(batch) - 1 : undefined;
    });
    return taken;
  }

  /** Hidden states -> the input of the block's first stage. */
  async begin(block: BlockDescription): Promise<void> {
    await this.each(beginStep(block));
  }

  /** The last block's output -> what a head reads, as `input`. */
  async norm(): Promise<void> {
    const { model } = this;
    await this.each((runtime, { residual }) => ({ residual, input: model.finalNorm(runtime, residual) }));
  }

  /** Hidden states -> the output of the whole block. */
  async runBlock(block: BlockDescription): Promise<void> {
    await this.each(blockStep(block));
  }

  /**
   * All batches through a stage; those that {@link advance} has sent there already stay.
   * @param see called with the keys and values that the stage computes; not for batches that {@link advance} has sent
   */
  async run(stage: Stage, see?: SeeCache): Promise<void> {
    await this.each(stageStep(stage), see);
    this.ahead.clear();
  }

  /**
   * Sends one batch through a stage. The output of one of its linears without its bias, `[tokens, out]`, may be changed
   * by the caller. It and the state before stay readable until `release` is called.
   */
  async advance(batch: number, stage: Stage, module: string): Promise<{ output: Float32Array; release(): void }> {
    const state = this.state(batch);
    const place = this.places[batch] as number;
    let given: T | undefined;
    const step = (runtime: Runtime<T>, current: Record<string, T>) => {
      const tapped = wrapRuntime(runtime, {
        linear(asked, x, plain) {
          const output = plain(asked, x);
          if (asked === module) given = output;
          return output;
        },
      });
      const next = stage.run(tapped, current as StageState<T>);
      if (given === undefined) throw new Error(`the stage "${stage.name}" does not run ${module}`);
      return { ...next, [outputPart]: given };
    };
    const uploaded = new Map<T, HostPart>();
    const { parts } = await this.download(() => step(this.runtime(), this.upload(state, uploaded)), { uploaded });
    const { [outputPart]: output, ...next } = parts;
    const values = output.data;
    this.states[place] = { parts: next };
    this.ahead.add(place);
    const bias = this.weights.get(`${module}.bias`);
    if (bias !== undefined) {
      const added = await this.options.engine.ops.data(bias);
      for (let i = 0; i < values.length; i++) values[i] -= added[i % added.length];
    }
    return { output: values, release: () => this.drop([state, { parts: { output } }]) };
  }

  /** Whether a batch goes through the model. */
  has(batch: number): boolean {
    return this.places[batch] !== undefined;
  }

  private state(batch: number): HostState {
    const place = this.places[batch];
    if (place === undefined) throw new Error(`batch ${batch} does not go through this model`);
    return this.states[place];
  }

  /** The current stage's input of a batch: `[tokens, width]`. */
  input(batch: number): { x: Float32Array; tokens: number; width: number } {
    const { data, shape } = this.state(batch).parts.input;
    const width = shape[shape.length - 1];
    return { x: data, tokens: data.length / width, width };
  }

  /** What some linears of the current stage read in a batch, by the name of the part; nothing when it has no tokens. */
  part(batch: number, name: string): StagePart | undefined {
    const { parts } = this.state(batch);
    const part = parts[name];
    if (part === undefined) return undefined;
    const width = part.shape[part.shape.length - 1];
    return { x: part.data, tokens: part.data.length / width, width, tokenOf: parts[`${name}.tokens`]?.data };
  }

  /** The residual stream of a batch before the current stage: `[tokens, hidden]`. */
  residual(batch: number): Float32Array {
    return this.state(batch).parts.residual.data;
  }

  /**
   * The hidden states of some windows of one length, `[windows, length, hiddenSize]`, copied.
   * @param windows their numbers among all windows
   */
  gather(windows: Int32Array): Float32Array {
    const row = this.options.windows.length * this.model.hiddenSize;
    const out = new Float32Array(windows.length * row);
    let batch = -1;
    let values: Float32Array = out;
    for (const [i, window] of windows.entries()) {
      const own = this.windowBatches.findLastIndex(({ first }) => first <= window);
      if (own !== batch) [batch, values] = [own, this.residual(own)];
      const from = (window - this.windowBatches[own].first) * row;
      out.set(values.subarray(from, from + row), i * row);
    }
    return out;
  }

  /** Goes on from hidden states of all windows that are known already: `[tokens, hiddenSize]`, copied. */
  place(hidden: Float32Array): void {
    const { hiddenSize } = this.model;
    for (const batch of this.take(1)) {
      const from = batch.start * hiddenSize;
      this.states.push(this.placed(batch, hidden.subarray(from, from + batch.count * batch.length * hiddenSize)));
    }
  }

  /** The hidden states of the batches that go through the model, each `[tokens, hiddenSize]`: see {@link resume}. */
  *hidden(): Generator<Float32Array> {
    // From a disk an array is valid until the next one is read.
    for (const { parts } of this.states) yield parts.residual.data;
  }

  /**
   * Goes on from what {@link hidden} gave, copied.
   * @param share as of `embed` in the walk from which the states are
   */
  resume(hidden: readonly Float32Array[], share = 1): void {
    for (const [index, batch] of this.take(share).entries()) this.states.push(this.placed(batch, hidden[index]));
  }

  private placed({ count, length }: WindowBatch, hidden: Float32Array): HostState {
    const data = this.store.buffer(hidden.length) ?? new Float32Array(hidden.length);
    data.set(hidden);
    return { parts: { residual: this.store.put('residual', data, [count, length, this.model.hiddenSize]) } };
  }

  /** What a batch's hidden states give with the loaded weights, on the host: logits, scores. The states stay. */
  output(batch: number, step: (runtime: Runtime<T>, hidden: T) => T): Promise<Float32Array> {
    const { data, shape } = this.state(batch).parts.residual;
    return this.applied(data, shape, step);
  }

  /** As {@link output} for some windows of one length, by their numbers among all windows. */
  outputOf(windows: Int32Array, step: (runtime: Runtime<T>, hidden: T) => T): Promise<Float32Array> {
    const shape = [windows.length, this.options.windows.length, this.model.hiddenSize];
    return this.applied(this.gather(windows), shape, step);
  }

  private async applied(
    hidden: Float32Array,
    shape: readonly number[],
    step: (runtime: Runtime<T>, hidden: T) => T,
  ): Promise<Float32Array> {
    const { ops } = this.options.engine;
    await yieldToEventLoop(this.options.signal);
    const result = ops.scope(() => step(this.runtime(), ops.fromF32(hidden, shape)));
    const data = await ops.data(result);
    ops.dispose(result);
    return data;
  }

  /**
   * The states of the first batches, to come back to with {@link compute} until they are dropped.
   * @param batches all when absent
   */
  snapshot(batches?: number): readonly HostState[] {
    const held = this.states.slice(0, batches);
    this.hold(held);
    return held;
  }

  private hold(states: readonly HostState[]): void {
    for (const { parts } of states) for (const part of Object.values(parts)) this.store.retain(part);
  }

  drop(states: readonly HostState[]): void {
    for (const { parts } of states) for (const part of Object.values(parts)) this.store.release(part);
  }

  /** Sends earlier states through some steps, with some weights replaced; neither the walk nor its weights change. */
  async compute(states: readonly HostState[], steps: readonly Step[], replaced: BlockWeights): Promise<HostState[]> {
    const { ops } = this.options.engine;
    const uploaded = new Map([...replaced].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const out: HostState[] = [];
    try {
      const runtime = this.runtimeWith(uploaded);
      for (const state of states) {
        await yieldToEventLoop(this.options.signal);
        // They are used together with the states and are few, so they stay in memory.
        out.push(
          await this.download(() => steps.reduce((current, step) => step(runtime, current), this.upload(state)), {
            store: memoryStates(),
          }),
        );
      }
    } finally {
      for (const handle of uploaded.values()) ops.dispose(handle);
    }
    return out;
  }

  private async fetch(name: string, handle: T, store: StateStore): Promise<HostPart> {
    const { ops } = this.options.engine;
    const shape = ops.shape(handle);
    return store.put(name, await ops.data(handle, store.buffer(elementCount(shape))), shape);
  }

  private upload({ parts }: HostState, uploaded?: Map<T, HostPart>): Record<string, T> {
    return Object.fromEntries(
      Object.entries(parts).map(([name, part]) => {
        const handle = this.options.engine.ops.fromF32(part.data, part.shape);
        uploaded?.set(handle, part);
        return [name, handle];
      }),
    );
  }

  private async each(step: Step, see?: SeeCache): Promise<void> {
    const { ops } = this.options.engine;
    const seen: { readonly site: CacheSite; readonly handle: T }[] = [];
    const runtime = see ? this.tapped(seen) : this.runtime();
    for (let i = 0; i < this.states.length; i++) {
      if (this.ahead.has(i)) continue;
      await yieldToEventLoop(this.options.signal);
      const state = this.states[i];
      const uploaded = new Map<T, HostPart>();
      this.states[i] = await this.download(() => step(runtime, this.upload(state, uploaded)), { uploaded });
      this.drop([state]);
      for (const { site, handle } of seen.splice(0)) {
        see?.(site, await ops.data(handle));
        ops.dispose(handle);
      }
    }
  }

  /**
   * The runtime, which also puts copies of all keys and values of the cache into `seen`. The caller disposes of them.
   */
  private tapped(seen: { readonly site: CacheSite; readonly handle: T }[]): Runtime<T> {
    const { ops } = this.options.engine;
    return wrapRuntime(this.runtime(), {
      cache(site, x, inner) {
        const own = inner(site, x);
        if (site.stage === 'afterRope') seen.push({ site, handle: ops.keep(ops.scale(own, 1)) });
        return own;
      },
    });
  }

  /** @param uploaded handles whose values the host has already: what a stage passes on is not downloaded again */
  private async download(
    compute: () => Record<string, T>,
    { uploaded, store = this.store }: { uploaded?: ReadonlyMap<T, HostPart>; store?: StateStore } = {},
  ): Promise<HostState> {
    const { ops } = this.options.engine;
    const handles = ops.scope(compute);
    const parts: Record<string, HostPart> = {};
    for (const [name, handle] of Object.entries(handles)) {
      const passedOn = uploaded?.get(handle);
      if (passedOn) store.retain(passedOn);
      parts[name] = passedOn ?? (await this.fetch(name, handle, store));
    }
    for (const handle of new Set(Object.values(handles))) ops.dispose(handle);
    return { parts };
  }
}
