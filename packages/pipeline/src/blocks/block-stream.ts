import { type Windows, windowBatches } from '@q/calib';
import type {
  BlockDescription,
  BlockWeights,
  Context,
  ForwardEngine,
  GatheredGrams,
  ModelDescription,
  Runtime,
  Stage,
  StageState,
  Tensor,
} from '@q/core';
import { elementCount, yieldToEventLoop } from '@q/core';
import { createRuntime, wrapRuntime } from '@q/models';
import { type HostPart, memoryStates, type StateStore } from './state-store.js';

/** A state of a batch, waiting on the host between two stages. */
export interface HostState {
  readonly parts: Readonly<Record<string, HostPart>>;
}

/** The part of a state that holds what a linear gave, see {@link BlockStream.advance}. */
const outputPart = 'linear output';

/** What becomes of a state: one stage, the begin of a block, or several of them in turn. */
export type Step = <T>(runtime: Runtime<T>, state: Record<string, T>) => Record<string, T>;

export const beginStep =
  (block: BlockDescription): Step =>
  (runtime, state) =>
    block.begin(runtime, state.residual);

export const stageStep =
  (stage: Stage): Step =>
  <T>(runtime: Runtime<T>, state: Record<string, T>) =>
    stage.run(runtime, state as StageState<T>);

/** Inputs of linears: `x` is `[tokens, width]`. */
export interface StagePart {
  readonly x: Float32Array;
  readonly tokens: number;
  readonly width: number;
  /** Which tokens of the batch the rows are, in rising order; absent when they are all of them. */
  readonly tokenOf?: Float32Array;
}

/**
 * The calibration windows on their way through a model, stage by stage. Between two stages every batch waits on the host,
 * so the engine holds one block's weights and one batch, and a stage is computed once, with its final weights.
 */
export class BlockStream<T> {
  private states: HostState[] = [];
  /** Which of them is that of a batch; none where the batch does not go through the model. */
  private places: (number | undefined)[] = [];
  private weights = new Map<string, T>();
  /** Places of states that {@link advance} has sent through the current stage already. */
  private readonly ahead = new Set<number>();
  /** Names of weights that another stream has uploaded and disposes of. */
  private borrowed = new Set<string>();
  constructor(
    private readonly engine: ForwardEngine<T>,
    private readonly model: ModelDescription,
    private readonly windows: Windows,
    private readonly batch: number,
    private readonly context: Context,
    private readonly store: StateStore = memoryStates(),
  ) {}

  /** Forgets all states. Weights belong to the stream that loaded them: see {@link clearWeights}. */
  dispose(): void {
    this.drop(this.states);
    this.states = [];
    this.store.dispose();
  }

  /**
   * Kernels for statistics of this stream's activations. Kernels that keep no sums, such as a GPU's, were requested: the engine
   * does not take over from them.
   */
  gatherGrams(): GatheredGrams {
    const { kernels } = this.context;
    const own = kernels.gatherGrams();
    return (own.kept ? this.engine.gatherGrams?.(kernels) : undefined) ?? own;
  }

  /** Tokens of a batch; the last one may have fewer. */
  get batchTokens(): number {
    return this.batch * this.windows.length;
  }

  get batches(): number {
    return this.states.length;
  }

  private runtimeWith(replaced: ReadonlyMap<string, T> = new Map()) {
    const weights = { get: (name: string) => replaced.get(name) ?? this.weights.get(name) };
    return createRuntime(this.engine.ops, weights, { ties: this.model.ties });
  }

  /** Replaces (or adds) a weight of the loaded set. */
  setWeight(name: string, tensor: Tensor<'f32'>): void {
    const old = this.weights.get(name);
    if (old !== undefined && !this.borrowed.delete(name)) this.engine.ops.dispose(old);
    this.weights.set(name, this.engine.ops.fromTensor(tensor));
  }

  /** Uses the weights that another stream of the same engine has loaded: they are on the engine once. */
  borrowWeights(from: BlockStream<T>): void {
    this.clearWeights();
    this.weights = new Map(from.weights);
    this.borrowed = new Set(from.weights.keys());
  }

  /** Forgets the loaded weights. A stream that borrows is cleared before the one it borrows from. */
  clearWeights(): void {
    for (const [name, handle] of this.weights) if (!this.borrowed.has(name)) this.engine.ops.dispose(handle);
    this.weights.clear();
    this.borrowed.clear();
  }

  /** A stream that goes on from here by itself, on the same loaded weights; this one stays where it is. */
  fork(): BlockStream<T> {
    const copy = new BlockStream(this.engine, this.model, this.windows, this.batch, this.context, this.store.fork());
    copy.states = [...this.states];
    copy.places = this.places;
    copy.weights = this.weights;
    copy.hold(copy.states);
    return copy;
  }

  /**
   * Token ids -> the first block's input, kept as `residual`.
   * @param share of the batches, evenly spaced: the others do not go through the model
   */
  async embed(share = 1): Promise<void> {
    const runtime = this.runtimeWith();
    this.states = [];
    this.places = [];
    for (const [index, { ids, count, length }] of windowBatches(this.windows, this.batch).entries()) {
      const taken = Math.ceil((index + 1) * share) > Math.ceil(index * share);
      this.places.push(taken ? this.states.length : undefined);
      if (taken)
        this.states.push(await this.download(() => ({ residual: this.model.embed(runtime, ids, count, length) })));
    }
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

  /** All batches through a stage; those that {@link advance} has sent there already stay. */
  async run(stage: Stage): Promise<void> {
    await this.each(stageStep(stage));
    this.ahead.clear();
  }

  /**
   * Sends one batch through a stage and gives what one of its linears gave on the way, without its bias: `[tokens, out]`, which may be
   * changed. It and what the state before held stay readable until `release` is called.
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
    const { parts } = await this.download(() => step(this.runtimeWith(), this.upload(state, uploaded)), { uploaded });
    const { [outputPart]: output, ...next } = parts;
    const values = output.data;
    this.states[place] = { parts: next };
    this.ahead.add(place);
    const bias = this.weights.get(`${module}.bias`);
    if (bias !== undefined) {
      const added = await this.engine.ops.data(bias);
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

  /** The first states, to come back to with {@link compute} until they are dropped. */
  snapshot(batches: number): readonly HostState[] {
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

  /** Sends earlier states through some steps, with some weights replaced; neither the stream nor its weights change. */
  async compute(states: readonly HostState[], steps: readonly Step[], replaced: BlockWeights): Promise<HostState[]> {
    const { ops } = this.engine;
    const uploaded = new Map([...replaced].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const out: HostState[] = [];
    try {
      const runtime = this.runtimeWith(uploaded);
      for (const state of states) {
        await yieldToEventLoop(this.context.signal);
        // They are looked at beside the states themselves, and are few: they stay in memory.
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
    const { ops } = this.engine;
    const shape = ops.shape(handle);
    return store.put(name, await ops.data(handle, store.buffer(elementCount(shape))), shape);
  }

  private upload({ parts }: HostState, uploaded?: Map<T, HostPart>): Record<string, T> {
    return Object.fromEntries(
      Object.entries(parts).map(([name, part]) => {
        const handle = this.engine.ops.fromF32(part.data, part.shape);
        uploaded?.set(handle, part);
        return [name, handle];
      }),
    );
  }

  private async each(step: Step): Promise<void> {
    const runtime = this.runtimeWith();
    for (let i = 0; i < this.states.length; i++) {
      if (this.ahead.has(i)) continue;
      await yieldToEventLoop(this.context.signal);
      const state = this.states[i];
      const uploaded = new Map<T, HostPart>();
      this.states[i] = await this.download(() => step(runtime, this.upload(state, uploaded)), { uploaded });
      this.drop([state]);
    }
  }

  /** @param uploaded handles whose values the host has already: what a stage passes on is not downloaded again */
  private async download(
    compute: () => Record<string, T>,
    { uploaded, store = this.store }: { uploaded?: ReadonlyMap<T, HostPart>; store?: StateStore } = {},
  ): Promise<HostState> {
    const { ops } = this.engine;
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
