import { BlockWalk, embedWindows, type Step, stageStep, type Walks, walkBlocks } from '@q/blockwise';
import type { Windows } from '@q/calib';
import {
  type BlockDescription,
  type BlockWeights,
  type Context,
  dequantize,
  type ForwardEngine,
  languageModel,
  type ModelDescription,
  NumericError,
  quantize,
  type Tensor,
} from '@q/core';
import { divergenceFrom } from '@q/eval';
import { measureEnds } from './measure-ends.js';
import { roundingFit, type SensitivityUnit } from './sensitivity-unit.js';

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

/** The model with one unit quantized, behind the block of the unit. */
interface Variant<T> {
  readonly unit: SensitivityUnit;
  readonly walk: BlockWalk<T>;
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
  const { model, engine, context, windows, units, batch = 4, weight: read, onMeasured } = options;
  const measured = new Map<string, readonly number[]>(options.finished);
  const walk = new BlockWalk({ model, engine, windows, batch, signal: context.signal });
  const measureBlock = async (block: BlockDescription): Promise<void> => {
    const own = units.filter(({ modules }) => block.linears.some(({ module }) => module === modules[0]));
    const open = own.filter(({ name }) => !measured.has(name));
    if (open.length === 0) return walk.runBlock(block);
    const variants = await variantsOf(options, walk, block, open);
    // The rest of the model needs the engine's memory.
    walk.clearWeights();
    const kl = await divergences(options, walk.fork(), variants, block);
    for (const unit of open)
      await note(
        unit,
        kl.filter((_, i) => variants[i].unit === unit),
      );
  };
  const note = async ({ name }: SensitivityUnit, values: number[]): Promise<void> => {
    if (!values.every(Number.isFinite))
      throw new NumericError(`${name}: the logits are not finite when it alone is quantized: ${values}`);
    measured.set(name, values);
    await onMeasured?.(name, values);
  };
  await embedWindows([walk], read);
  await walkBlocks([walk], { read, visit: measureBlock, progress: context.progress, task: 'sensitivity' });
  walk.clearWeights();
  const inside = new Set(model.blocks.flatMap(({ linears }) => linears.map(({ module }) => module)));
  for (const unit of units)
    if (!inside.has(unit.modules[0]) && !measured.has(unit.name))
      await note(unit, await measureEnds(options, unit, walk));
  return measured;
}

const residualAlone: Step = (_runtime, { residual }) => ({ residual });

/** Takes the original through a block, and makes the variants of the block's units from its states before each stage. */
async function variantsOf<T>(
  { weight, context: { kernels } }: SensitivityOptions<T>,
  walk: BlockWalk<T>,
  block: BlockDescription,
  units: readonly SensitivityUnit[],
): Promise<Variant<T>[]> {
  const { stages } = block;
  await walk.begin(block);
  const states = [];
  for (const stage of stages) {
    states.push(walk.snapshot());
    await walk.run(stage);
  }
  const variants: Variant<T>[] = [];
  for (const unit of units) {
    const reading = unit.modules.map((module) => stages.findIndex(({ linears }) => linears.includes(module)));
    const first = Math.max(0, Math.min(...reading));
    const steps = [...stages.slice(first).map(stageStep), residualAlone];
    for (const scheme of unit.candidates) {
      const replaced: BlockWeights = new Map();
      for (const module of unit.modules) {
        const original = await weight(`${module}.weight`);
        replaced.set(`${module}.weight`, dequantize(quantize(original, scheme, { fit: roundingFit, kernels })));
      }
      variants.push({ unit, walk: walk.fork(await walk.compute(states[first], steps, replaced)) });
    }
  }
  for (const each of states) walk.drop(each);
  return variants;
}

/** Mean KL of each variant to the original, which all go through what is behind a block. */
async function divergences<T>(
  { model, context: { signal }, windows: { length, count }, weight: read }: SensitivityOptions<T>,
  original: BlockWalk<T>,
  variants: readonly Variant<T>[],
  block: BlockDescription,
): Promise<number[]> {
  const walks: Walks<T> = [original, ...variants.map(({ walk }) => walk)];
  const { logits } = languageModel(model, 'a budget');
  try {
    await walkBlocks(walks, { read, blocks: model.blocks.slice(model.blocks.indexOf(block) + 1) });
    await original.load(model.headTensors, read);
    const sums = variants.map(() => 0);
    for (const index of original.windowBatches.keys()) {
      signal?.throwIfAborted();
      const divergence = divergenceFrom(await original.output(index, logits), length, model.vocabularySize);
      for (const [i, { walk }] of variants.entries()) sums[i] += divergence(await walk.output(index, logits));
    }
    return sums.map((sum) => sum / (count * (length - 1)));
  } finally {
    original.clearWeights();
    for (const walk of walks) walk.dispose();
  }
}
