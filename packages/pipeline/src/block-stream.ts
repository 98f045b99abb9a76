import type { Windows } from '@q/calib';
import type { BlockDescription, Context, Engine, ModelDescription, Stage, StageState, Tensor } from '@q/core';
import { createRuntime } from '@q/models';
import { breathe } from './breathe.js';

/** A state of a batch, waiting on the host between two stages. */
interface HostState {
  readonly parts: Readonly<Record<string, { readonly data: Float32Array; readonly shape: readonly number[] }>>;
}

/**
 * The calibration windows on their way through a model, stage by stage. Between two stages every batch waits on the host,
 * so the engine holds one block's weights and one batch, and a stage is computed once, with its final weights.
 */
export class BlockStream<T> {
  private states: HostState[] = [];
  private weights = new Map<string, T>();

  constructor(
    private readonly engine: Engine<T>,
    private readonly model: ModelDescription,
    private readonly windows: Windows,
    private readonly batch: number,
    private readonly context: Context,
  ) {}

  get batches(): number {
    return this.states.length;
  }

  private get runtime() {
    return createRuntime(this.engine.ops, this.weights, { ties: this.model.ties });
  }

  /** Replaces (or adds) a weight of the loaded set. */
  setWeight(name: string, tensor: Tensor<'f32'>): void {
    const old = this.weights.get(name);
    if (old !== undefined) this.engine.ops.dispose(old);
    this.weights.set(name, this.engine.ops.fromTensor(tensor));
  }

  clearWeights(): void {
    for (const handle of this.weights.values()) this.engine.ops.dispose(handle);
    this.weights.clear();
  }

  /** Token ids -> the first block's input, kept as `residual`. */
  async embed(): Promise<void> {
    const { ids, count, length } = this.windows;
    this.states = [];
    for (let start = 0; start < count; start += this.batch) {
      const size = Math.min(this.batch, count - start);
      const part = ids.subarray(start * length, (start + size) * length);
      this.states.push(await this.download(() => ({ residual: this.model.embed(this.runtime, part, size, length) })));
    }
  }

  /** Hidden states -> the input of the block's first stage. */
  async begin(block: BlockDescription): Promise<void> {
    await this.each((state) => block.begin(this.runtime, state.residual));
  }

  async run(stage: Stage): Promise<void> {
    await this.each((state) => stage.run(this.runtime, state as StageState<T>));
  }

  /** The current stage's input of a batch: `[tokens, width]`. */
  input(batch: number): { x: Float32Array; tokens: number; width: number } {
    const { data, shape } = this.states[batch].parts.input;
    const width = shape[shape.length - 1];
    return { x: data, tokens: data.length / width, width };
  }

  /** The residual stream of a batch before the current stage: `[tokens, hidden]`. */
  residual(batch: number): Float32Array {
    return this.states[batch].parts.residual.data;
  }

  private async each(step: (state: Record<string, T>) => Record<string, T>): Promise<void> {
    const { ops } = this.engine;
    for (let i = 0; i < this.states.length; i++) {
      await breathe(this.context.signal);
      const { parts } = this.states[i];
      this.states[i] = await this.download(() =>
        step(
          Object.fromEntries(Object.entries(parts).map(([name, { data, shape }]) => [name, ops.fromF32(data, shape)])),
        ),
      );
    }
  }

  private async download(compute: () => Record<string, T>): Promise<HostState> {
    const { ops } = this.engine;
    const handles = ops.scope(compute);
    const parts: Record<string, { data: Float32Array; shape: readonly number[] }> = {};
    for (const [name, handle] of Object.entries(handles))
      parts[name] = { data: await ops.data(handle), shape: ops.shape(handle) };
    for (const handle of new Set(Object.values(handles))) ops.dispose(handle);
    return { parts };
  }
}
