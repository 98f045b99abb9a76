import { BlockWalk, embedWindows, walkBlocks } from '@q/blockwise';
import {
  type BlockDescription,
  type Context,
  type QuantizedTensor,
  type Tensor,
  type TrainingStore,
  type TunerInput,
  tensor,
} from '@q/core';
import { comparedWithStart, moduleOf } from './compared-with-start.js';
import { blockObjective } from './objectives/block-objective.js';
import type { Optimizer } from './optimizers/optimizer.js';
import type { Schedule } from './optimizers/schedule.js';
import type { QuantizedParameterization } from './parameters/parameterization.js';
import { readMemory, type StepMemory, writeMemory } from './step-memory.js';
import { train } from './train.js';
import { tunedModules } from './tune-model.js';

/** Settings of a training of one block at a time against its own output. */
export interface BlockTuning {
  /** @param step number of the block's step that is computed, from 0 */
  parameterize(
    original: Tensor<'f32'>,
    start: QuantizedTensor,
    module: string,
    step: () => number,
  ): QuantizedParameterization;
  /** Makes a new optimizer for every block. */
  optimizer(): Optimizer;
  readonly schedule: Schedule;
  readonly rates: Readonly<Record<string, number>>;
  /** Multiplies the rate of a parameter. Default 1. */
  rateFactor?(start: QuantizedTensor, role: string): number;
  /** Number of steps of each block. */
  readonly steps: number;
  readonly batch: number;
  readonly clipNorm?: number;
  /** Keeps the iterate whose batch had the smallest error. */
  readonly keepBest: boolean;
  /**
   * Compares the trained block with its start on the first windows, and keeps the start unless training improved it.
   */
  readonly keepsBetterStart?: boolean;
  readonly task: string;
}

export interface TunedBlocks {
  /** The parameterizations, by module name. */
  readonly modules: ReadonlyMap<string, QuantizedParameterization>;
  /** Mean squared error of each block's last steps. */
  readonly losses: readonly number[];
  readonly secondsPerStep: number;
  /** Blocks that kept their start. */
  readonly keptStarts: readonly string[];
  /** Memory of the first step of the largest trained block. Absent if the engine cannot measure it. */
  readonly memory?: Readonly<Record<string, number>>;
}

/**
 * Trains block by block. The input of a block is the output of the trained blocks before it; its target is the
 * unquantized model's states after the same block. Hidden states of both are on the host; only one block's weights are
 * on the engine. Finished blocks are in the store: a training that continues replays them and trains the rest.
 */
export async function tuneBlocks<T>(
  input: TunerInput<T>,
  tuning: BlockTuning,
  context: Context,
  store: TrainingStore | undefined = input.store,
): Promise<TunedBlocks> {
  const { model, engine, source, windows, start } = input;
  const { ops } = engine;
  tunedModules(input);
  const modules = new Map<string, QuantizedParameterization>();
  const losses: number[] = [];
  const saved = await store?.load();
  const finished = saved?.get('finished blocks')?.[0] ?? 0;
  let [seconds, steps] = [0, 0];
  const kept = new Set(saved?.get('kept starts') ?? []);
  const savedMemory = saved?.get('memory');
  let memory = savedMemory && readMemory(savedMemory);

  const open = () => new BlockWalk({ model, engine, windows, batch: tuning.batch, signal: context.signal });
  const [reference, trained] = [open(), open()];
  const read = (name: string) => source.weight(name);
  const tuneBlock = async (block: BlockDescription): Promise<void> => {
    const known = input.hiddenStates?.get(block.index);
    if (known) reference.place(known);
    else await reference.runBlock(block);
    let step = 0;
    const tensors = await parameterizeBlock(block, input, tuning, () => step);
    for (const [name, each] of tensors) {
      modules.set(moduleOf(name), each);
      // The model that borrows weights drops them first.
      trained.dropWeight(name);
      reference.dropWeight(name);
    }
    if (block.index < finished) {
      for (const [name, each] of tensors)
        for (const [role, values] of Object.entries(each.parameters))
          values.set(saved?.get(`${name}#${role}`) as Float32Array);
      for (const each of tensors.values()) each.settle?.();
      if (tensors.size > 0) losses.push(saved?.get('losses')?.[losses.length] ?? Number.NaN);
    } else if (tensors.size > 0) {
      const objective = blockObjective({
        ops,
        model,
        block,
        frozen: reference.loaded,
        shapes: new Map([...tensors].map(([name, each]) => [name, each.shape])),
        inputs: trained,
        targets: reference,
        count: windows.count,
        length: windows.length,
      });
      const { schedule, rates, batch, clipNorm, task } = tuning;
      const result = await train(
        {
          tensors,
          objective,
          optimizer: tuning.optimizer(),
          schedule,
          rates,
          ...(tuning.rateFactor
            ? {
                rateFactor: (tensor: string, role: string) =>
                  tuning.rateFactor?.(start.get(moduleOf(tensor)) as QuantizedTensor, role) ?? 1,
              }
            : {}),
          onStep: (next: number) => {
            step = next;
          },
          steps: tuning.steps,
          batch,
          clipNorm,
          ...(tuning.keepBest ? { keepBest: 'batch' } : {}),
          task: `${task} ${block.prefix}`,
          observeBytes: engine.observeBytes,
        },
        { ...context, random: context.random.fork(block.prefix) },
      );
      for (const each of tensors.values()) each.settle?.();
      losses.push(Math.fround(result.bestLoss ?? result.loss));
      if (tuning.keepsBetterStart) {
        const [own, before] = await comparedWithStart(objective, tensors, input, tuning.batch, context);
        losses[losses.length - 1] = Math.fround(Math.min(own, before));
        if (own >= before) {
          kept.add(block.index);
          for (const each of tensors.values()) each.restart?.();
        }
      }
      seconds += result.secondsPerStep * result.steps;
      steps += result.steps;
      if (result.memory && !(memory && totalOf(memory) >= totalOf(result.memory))) memory = result.memory;
    }
    // Nothing reads the output of the last block.
    if (block !== model.blocks.at(-1)) {
      for (const [name, each] of tensors) trained.setWeight(name, tensor('f32', each.shape, each.value()));
      await trained.runBlock(block);
    }
    if (block.index >= finished) await store?.save(stateOf(block.index + 1, { losses, kept, memory }, modules));
  };
  await embedWindows([reference, trained], read);
  await walkBlocks([reference, trained], { read, visit: tuneBlock });
  const states = 2 * 4 * windows.ids.length * model.hiddenSize;
  for (const walk of [reference, trained]) walk.dispose();
  const keptStarts = model.blocks.filter(({ index }) => kept.has(index)).map(({ prefix }) => prefix);
  return {
    ...{ modules, losses, keptStarts, secondsPerStep: steps > 0 ? seconds / steps : 0 },
    ...(memory ? { memory: { ...memory, teacher: states } } : {}),
  };
}

const totalOf = (memory: StepMemory): number => Object.values(memory).reduce((sum, bytes) => sum + bytes, 0);

async function parameterizeBlock<T>(
  block: BlockDescription,
  { source, start }: TunerInput<T>,
  tuning: BlockTuning,
  step: () => number,
): Promise<Map<string, QuantizedParameterization>> {
  const tensors = new Map<string, QuantizedParameterization>();
  for (const { module } of block.linears) {
    const quantized = start.get(module);
    const name = `${module}.weight`;
    if (quantized) tensors.set(name, tuning.parameterize(await source.weight(name), quantized, module, step));
  }
  return tensors;
}

interface FinishedBlocks {
  /** f32, as in the store. */
  readonly losses: readonly number[];
  /** Numbers of the blocks that kept their start. */
  readonly kept: ReadonlySet<number>;
  readonly memory: StepMemory | undefined;
}

function stateOf(
  finished: number,
  { losses, kept, memory }: FinishedBlocks,
  modules: ReadonlyMap<string, QuantizedParameterization>,
): Map<string, Float32Array> {
  return new Map([
    ['finished blocks', Float32Array.of(finished)],
    ['losses', Float32Array.from(losses)],
    ['kept starts', Float32Array.from(kept)],
    ...(memory ? [['memory', writeMemory(memory)] as const] : []),
    ...[...modules].flatMap(([module, { parameters }]) =>
      Object.entries(parameters).map(([role, values]): [string, Float32Array] => [`${module}.weight#${role}`, values]),
    ),
  ]);
}
