import type { Windows } from '@q/calib';
import {
  type BlockDescription,
  type Context,
  dequantize,
  type ForwardEngine,
  languageModel,
  type ModelDescription,
  NumericError,
  quantize,
  type Runtime,
  type Scheme,
  type StageState,
  type Tensor,
  weightedSearch,
} from '@q/core';
import { divergenceFrom } from '@q/eval';
import { createRuntime, runBlock, wrapRuntime } from '@q/models';

/**
 * How weights are rounded for the measurement: no statistics, so that experts and attention are treated alike, and a search,
 * so that the narrow widths do not look worse beside the wide ones than methods leave them.
 */
const fit = weightedSearch();

/** Linears that change together: one scheme for all of them. All are of one block. */
export interface SensitivityUnit {
  readonly name: string;
  readonly modules: readonly string[];
  /** Schemes to try; each gives one number. */
  readonly candidates: readonly Scheme[];
}

export interface SensitivityOptions<T> {
  readonly model: ModelDescription;
  readonly engine: ForwardEngine<T>;
  readonly context: Context;
  /** A tensor by its checkpoint name, linears `[out, in]`. */
  readonly weight: (name: string) => Promise<Tensor<'f32'>>;
  readonly windows: Windows;
  readonly units: readonly SensitivityUnit[];
  /** Windows at a time; 4 when absent. */
  readonly batch?: number;
  /** Units that an earlier measurement has finished: they are not measured again. */
  readonly finished?: ReadonlyMap<string, readonly number[]>;
  /** Called once for each unit that was measured, in order. */
  readonly onMeasured?: (unit: string, kl: readonly number[]) => Promise<void>;
}

/** A copy of the model that differs from the original in one unit, as hidden states on the host, a batch each. */
interface Variant {
  readonly unit: SensitivityUnit | undefined;
  hidden: Float32Array[];
}

/**
 * Mean KL divergence (nats per token) of the whole model to the original when one unit alone is quantized, for each unit
 * and each of its candidates.
 *
 * Variants that differ in block b leave the original there, at the stage that reads the changed linears: only what comes behind
 * is computed for them, side by side, so that the weights of each later block are read once for all variants of b.
 * @throws NumericError naming the unit when logits are not finite
 */
export async function measureSensitivity<T>(options: SensitivityOptions<T>): Promise<Map<string, readonly number[]>> {
  const { model, context, units, onMeasured } = options;
  const measured = new Map<string, readonly number[]>(options.finished);
  const run = new ModelRun(options);
  let original = await run.embed();
  for (const [index, block] of model.blocks.entries()) {
    const own = units.filter(({ modules }) => block.linears.some(({ module }) => module === modules[0]));
    const open = own.filter(({ name }) => !measured.has(name));
    let variants: Variant[] = [];
    await run.withWeights(block.tensors, async (runtime) => {
      const states = await run.statesOf(block, runtime, original);
      variants = await variantsOf(run, runtime, block, open, states);
      original = states[states.length - 1].map(({ residual }) => residual.data);
    });
    if (open.length > 0) {
      const all = [{ unit: undefined, hidden: original }, ...variants];
      for (const later of model.blocks.slice(index + 1)) {
        await run.withWeights(later.tensors, async (runtime) => {
          for (const variant of all) variant.hidden = await run.block(later, runtime, variant.hidden);
        });
      }
      const kl = await run.divergences(all[0], variants);
      for (const unit of open) {
        const values = kl.filter((_, i) => variants[i].unit === unit);
        if (!values.every(Number.isFinite))
          throw new NumericError(`${unit.name}: the logits are not finite when it alone is quantized: ${values}`);
        measured.set(unit.name, values);
        await onMeasured?.(unit.name, values);
      }
    }
    context.progress({ task: 'sensitivity', done: index + 1, total: model.blocks.length, unit: 'blocks' });
  }
  return measured;
}

/** The block's output of every variant of its units, from the original's states before each stage. */
async function variantsOf<T>(
  run: ModelRun<T>,
  runtime: Runtime<T>,
  block: BlockDescription,
  units: readonly SensitivityUnit[],
  states: readonly (readonly HostState[])[],
): Promise<Variant[]> {
  const { weight, context } = run.options;
  const variants: Variant[] = [];
  for (const unit of units) {
    const first = Math.min(
      ...unit.modules.map((module) => block.stages.findIndex(({ linears }) => linears.includes(module))),
    );
    for (const scheme of unit.candidates) {
      const replaced = new Map<string, Tensor<'f32'>>();
      for (const module of unit.modules) {
        const original = await weight(`${module}.weight`);
        replaced.set(`${module}.weight`, dequantize(quantize(original, scheme, { fit, kernels: context.kernels })));
      }
      variants.push({ unit, hidden: await run.stages(block, Math.max(0, first), runtime, states, replaced) });
    }
  }
  return variants;
}

/** The state of a batch between two stages of a block. */
type HostState = Readonly<Record<string, { readonly data: Float32Array; readonly shape: readonly number[] }>>;

/** The model's parts on batches of hidden states that wait on the host. */
class ModelRun<T> {
  private readonly batch: number;

  constructor(readonly options: SensitivityOptions<T>) {
    this.batch = options.batch ?? 4;
  }

  async withWeights<R>(names: readonly string[], use: (runtime: Runtime<T>) => Promise<R>): Promise<R> {
    const { engine, model, weight } = this.options;
    const loaded = new Map<string, T>();
    try {
      for (const name of names) loaded.set(name, engine.ops.fromTensor(await weight(name)));
      return await use(createRuntime(engine.ops, loaded, { ties: model.ties }));
    } finally {
      for (const handle of loaded.values()) engine.ops.dispose(handle);
    }
  }

  embed(): Promise<Float32Array[]> {
    const { model, windows } = this.options;
    return this.withWeights(model.embeddingTensors, async (runtime) => {
      const out: Float32Array[] = [];
      for (let start = 0; start < windows.count; start += this.batch) {
        const size = Math.min(this.batch, windows.count - start);
        const ids = windows.ids.subarray(start * windows.length, (start + size) * windows.length);
        out.push(await this.download(() => model.embed(runtime, ids, size, windows.length)));
      }
      return out;
    });
  }

  /** One block: hidden states in, hidden states out. */
  async block(block: BlockDescription, runtime: Runtime<T>, hidden: readonly Float32Array[]): Promise<Float32Array[]> {
    const out: Float32Array[] = [];
    for (const index of hidden.keys()) {
      this.options.context.signal?.throwIfAborted();
      out.push(await this.download(() => runBlock(block, runtime, this.upload(hidden, index))));
    }
    return out;
  }

  /** The states of all batches before each stage of a block, and behind the last one. */
  async statesOf(
    block: BlockDescription,
    runtime: Runtime<T>,
    hidden: readonly Float32Array[],
  ): Promise<HostState[][]> {
    const all: HostState[][] = Array.from({ length: block.stages.length + 1 }, () => []);
    for (const index of hidden.keys()) {
      this.options.context.signal?.throwIfAborted();
      let state = await this.downloadState(() => block.begin(runtime, this.upload(hidden, index)));
      all[0].push(state);
      for (const [i, stage] of block.stages.entries()) {
        const before = state;
        state = await this.downloadState(() => stage.run(runtime, this.uploadState(before)));
        all[i + 1].push(state);
      }
    }
    return all;
  }

  /** The rest of a block from one of its stages on, with some of its weights replaced. */
  async stages(
    { stages }: BlockDescription,
    first: number,
    runtime: Runtime<T>,
    states: readonly (readonly HostState[])[],
    replaced: ReadonlyMap<string, Tensor<'f32'>>,
  ): Promise<Float32Array[]> {
    const { ops } = runtime;
    const handles = new Map([...replaced].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const changed = wrapRuntime(runtime, { weight: (name, inner) => handles.get(name) ?? inner(name) });
    const out: Float32Array[] = [];
    for (const state of states[first]) {
      this.options.context.signal?.throwIfAborted();
      out.push(
        await this.download(
          () => stages.slice(first).reduce((now, stage) => stage.run(changed, now), this.uploadState(state)).residual,
        ),
      );
    }
    for (const handle of handles.values()) ops.dispose(handle);
    return out;
  }

  /** Mean KL of each variant to the original. */
  divergences(original: Variant, variants: readonly Variant[]): Promise<number[]> {
    const { model, windows } = this.options;
    const { length, count } = windows;
    return this.withWeights(model.headTensors, async (runtime) => {
      const sums = variants.map(() => 0);
      const logits = ({ hidden }: Variant, index: number) =>
        this.download(() => languageModel(model, 'a budget').logits(runtime, this.upload(hidden, index)));
      for (const index of original.hidden.keys()) {
        const divergence = divergenceFrom(await logits(original, index), length, model.vocabularySize);
        for (const [i, variant] of variants.entries()) sums[i] += divergence(await logits(variant, index));
      }
      return sums.map((sum) => sum / (count * (length - 1)));
    });
  }

  upload(hidden: readonly Float32Array[], index: number): T {
    const { model, windows, engine } = this.options;
    const row = windows.length * model.hiddenSize;
    return engine.ops.fromF32(hidden[index], [hidden[index].length / row, windows.length, model.hiddenSize]);
  }

  private async download(compute: () => T): Promise<Float32Array> {
    const { ops } = this.options.engine;
    const handle = ops.scope(compute);
    const data = await ops.data(handle);
    ops.dispose(handle);
    return data;
  }

  private uploadState(state: HostState): StageState<T> {
    const { ops } = this.options.engine;
    const handles = Object.entries(state).map(([name, { data, shape }]) => [name, ops.fromF32(data, shape)]);
    return Object.fromEntries(handles) as StageState<T>;
  }

  private async downloadState(compute: () => StageState<T>): Promise<HostState> {
    const { ops } = this.options.engine;
    const handles = ops.scope(compute);
    const state: Record<string, HostState[string]> = {};
    for (const [name, handle] of Object.entries(handles))
      state[name] = { data: await ops.data(handle), shape: ops.shape(handle) };
    for (const handle of new Set(Object.values(handles))) ops.dispose(handle);
    return state;
  }
}
