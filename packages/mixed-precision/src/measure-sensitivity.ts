import type { Windows } from '@q/calib';
import {
  type BlockDescription,
  type Context,
  dequantize,
  type Engine,
  type ModelDescription,
  NumericError,
  quantize,
  type Runtime,
  type Scheme,
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
  readonly engine: Engine<T>;
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
 * Variants that differ in block b leave the original there: only the blocks from b on are computed for them, side by side,
 * so that the weights of each later block are read once for all variants of b.
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
      variants = await variantsOf(run, runtime, block, open, original);
      original = await run.block(block, runtime, original);
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

/** The block's output of every variant of its units. */
async function variantsOf<T>(
  run: ModelRun<T>,
  runtime: Runtime<T>,
  block: BlockDescription,
  units: readonly SensitivityUnit[],
  hidden: Float32Array[],
): Promise<Variant[]> {
  const { weight } = run.options;
  const variants: Variant[] = [];
  for (const unit of units) {
    for (const scheme of unit.candidates) {
      const replaced = new Map<string, Tensor<'f32'>>();
      for (const module of unit.modules) {
        const original = await weight(`${module}.weight`);
        replaced.set(`${module}.weight`, dequantize(quantize(original, scheme, { fit })));
      }
      variants.push({ unit, hidden: await run.block(block, runtime, hidden, replaced) });
    }
  }
  return variants;
}

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

  /** One block, with some of its weights replaced. */
  async block(
    block: BlockDescription,
    runtime: Runtime<T>,
    hidden: readonly Float32Array[],
    replaced: ReadonlyMap<string, Tensor<'f32'>> = new Map(),
  ): Promise<Float32Array[]> {
    const { ops } = runtime;
    const handles = new Map([...replaced].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
    const changed =
      handles.size === 0
        ? runtime
        : wrapRuntime(runtime, { weight: (name, inner) => handles.get(name) ?? inner(name) });
    const out: Float32Array[] = [];
    for (const index of hidden.keys()) {
      this.options.context.signal?.throwIfAborted();
      out.push(await this.download(() => runBlock(block, changed, this.upload(hidden, index))));
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
        this.download(() => model.logits(runtime, this.upload(hidden, index)));
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
}
