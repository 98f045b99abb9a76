import { join } from 'node:path';
import { BlockWalk, memoryStates, walkBlocks } from '@q/blockwise';
import { diskStates } from '@q/blockwise/disk';
import { shardWindows, type Windows, windowBatches } from '@q/calib';
import type { CheckpointWriter, EncodedModule } from '@q/checkpoint';
import {
  type BlockDescription,
  type BlockWeights,
  type Context,
  countTokens,
  dequantize,
  type ForwardEngine,
  type ModelDescription,
  type Tensor,
  tokenFrequencies,
} from '@q/core';
import type { EndLoss } from '@q/end-loss';
import { activationFiles } from '../blocks/activation-files.js';
import { CacheRanges } from '../blocks/cache-ranges.js';
import { type TransformedBlock, transformBlock } from '../blocks/transform-block.js';
import { type ModelSource, rewriteModel } from '../plan/model-source.js';
import { pairedShare } from '../plan/paired-share.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import { transformsOf } from '../recipe/recipe.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import { collectInput, type InputRequest, plannedIn } from './collect-input.js';
import { embedStreams } from './embed-streams.js';
import { headInputs } from './head-inputs.js';
import type { HiddenStates } from './hidden-states.js';
import { outsideBlocks, quantizeOutside } from './outside-blocks.js';
import { quantizeStage } from './quantize-stage.js';
import type { RemoteSolver } from './remote-modules.js';
import { mergedCollectors, mergedInputs, type RemoteWindows, type WindowSettings } from './remote-windows.js';
import type { RunWork } from './run-work.js';

/** The parts with which a calibrated run computes. */
interface CalibratedRun<T> {
  readonly engine: ForwardEngine<T>;
  readonly windows: Windows;
  /** The output folder. Under a memory limit it has files with the states of the model. */
  readonly out: string;
  /** Receives the states that a tuner reads afterwards. */
  readonly hiddenStates?: HiddenStates;
  readonly endLoss?: EndLoss;
  /** Solves linears in other processes; the bytes are the same. */
  readonly solver?: RemoteSolver;
  /** Opens the processes that send the windows through the model, if they have several shards. */
  readonly openWindows?: (settings: WindowSettings) => Promise<RemoteWindows>;
}

/**
 * Quantizes block by block, stage by stage (true-sequential). For each stage it records the inputs, quantizes and
 * writes the linears, and replaces them with the written ones. Then the stage runs and gives the next stage's inputs.
 * No block runs twice.
 */
export async function runCalibrated<T>(
  { plan, writer, journal, context }: RunWork,
  { engine, windows, out, hiddenStates, endLoss, solver, openWindows }: CalibratedRun<T>,
): Promise<void> {
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  const model = source.model as ModelDescription;
  // The hidden states for a tuner come from the unquantized model on all windows.
  const share = pairedShare([...plan.modules.values()], windows.count * windows.length);
  const pairedTokens = hiddenStates && share > 0 ? 1 : share;
  const outside = outsideBlocks(plan);
  const frequencies = tokenFrequencies.create(model.vocabularySize);
  countTokens(frequencies, windows.ids);
  const store = (name: string) => (plan.forecast.disk === undefined ? memoryStates() : diskStates(join(out, name)));
  const [ownStates, originalStates] = activationFiles;
  // The head's inputs come first, because the blocks are calibrated with the table to which the head is tied.
  const inputs = await headInputs(outside, journal, {
    ...{ source, model, engine, windows, context, batch: plan.forecast.batch },
    store: () => store(ownStates),
  });
  const work = { plan, source, writer, journal, context, frequencies, ...(inputs ? { inputs } : {}) };
  const quantizeHeads = async () => void (await quantizeOutside(outside.heads, work));
  // In a run that ended during its training, everything before the training is on the disk, and nothing needs the
  // activations.
  if (model.blocks.every(({ prefix }) => journal.finished.has(prefix))) return quantizeHeads();
  const { batch } = plan.forecast;
  const { windowShards: shards = 1 } = plan.recipe;
  const settings = { windows, shards, batch, pairedTokens, engine: engine.name };
  const remote = shards > 1 ? await openWindows?.(settings) : undefined;
  const open = (name: string): BlockWalk<T> =>
    new BlockWalk({
      ...{ model, engine, batch, signal: context.signal, store: store(name) },
      ...(remote ? { windows: probedWindows(settings, plan) } : { windows, shards }),
    });
  const walk = open(ownStates);
  // The unquantized model on the same windows, if a method compares with it.
  const original = pairedTokens > 0 && !remote ? open(originalStates) : undefined;
  const walks = original ? [walk, original] : [walk];
  try {
    // Tables come first, because the blocks are calibrated with the written tables.
    const tables = await quantizeOutside(outside.tables, work);
    await quantizeBlocks({
      plan,
      source,
      model,
      writer,
      journal,
      walk,
      original,
      pairedTokens,
      context,
      hiddenStates,
      tables,
      endLoss,
      solver,
      remote,
    });
  } finally {
    await remote?.close();
    for (const each of walks) {
      each.clearWeights();
      each.dispose();
    }
  }
  await quantizeHeads();
}

/** The windows that this process needs if others send all windows through the model: transforms probe the first batch. */
function probedWindows({ windows, shards, batch }: WindowSettings, { recipe }: Plan): Windows {
  const [first] = windowBatches(shardWindows(windows, shards)[0].windows, batch);
  const { ids, count, length } = first;
  return transformsOf(recipe).length > 0 ? { ids, count, length } : { ids: ids.subarray(0, 0), count: 0, length };
}

interface BlocksRun<T> {
  readonly plan: Plan;
  readonly source: ModelSource;
  readonly model: ModelDescription;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<ModuleRow>;
  readonly walk: BlockWalk<T>;
  readonly original: BlockWalk<T> | undefined;
  /** Share of the batches that go through the unquantized model. */
  readonly pairedTokens: number;
  readonly context: Context;
  readonly hiddenStates?: HiddenStates;
  /** Quantized tables of embeddings. The walk reads them instead of the source's tables. */
  readonly tables: Map<string, Tensor<'f32'>>;
  readonly endLoss?: EndLoss;
  readonly solver?: RemoteSolver;
  /** Sends the windows through the model. Then `walk` has only those that transforms probe. */
  readonly remote?: RemoteWindows;
}

async function quantizeBlocks<T>(run: BlocksRun<T>): Promise<void> {
  const { plan, source, model, writer, journal, walk, original, context, hiddenStates, endLoss, solver, remote } = run;
  const walks = original ? [walk, original] : [walk];
  const { profile, progress } = context;
  const partly = walk.shards.length > 1 && run.pairedTokens < 1;
  const tables = remote ? await encodedModules(outsideBlocks(plan).tables, writer) : noModules;
  if (tables.size > 0) await remote?.written(undefined, { modules: tables, tensors: new Map() });
  if (walk.windowBatches.length > 0) await embedStreams(run);
  const lastStage = model.blocks.at(-1)?.stages.at(-1);
  // Each tensor of a block is read once. The walks, the transforms and the methods all take it from this map.
  const weights: BlockWeights = new Map();
  let replayed = false;
  const quantizeBlock = async (block: BlockDescription): Promise<void> => {
    replayed = journal.finished.has(block.prefix);
    const before = { block: block.index, stage: -1 };
    const collectElsewhere =
      remote &&
      (async (transform: number, tensors: BlockWeights) => {
        if (tensors.size > 0) await remote.written(before, { modules: noModules, tensors });
        return mergedCollectors(remote.collectBlock(block.index, transform));
      });
    // Transforms keep the function, so the unquantized model is not changed. Its inputs are scaled where they are used.
    const transformed = replayed
      ? undefined
      : await profile.stage('transform', () =>
          transformBlock({ plan, block, loaded: weights, walk, context, collectElsewhere }),
        );
    const scaled = transformed
      ? await writeScaled(plan, block, weights, transformed, writer)
      : await replayScaled(plan, block, writer, walk);
    if (transformsOf(plan.recipe).length > 0) await remote?.written(before, { modules: noModules, tensors: scaled });
    for (const each of walks) await profile.stage('forward', () => each.begin(block));
    const attention = plan.cache?.modules[block.index];
    const ranges = transformed && attention !== undefined ? new CacheRanges(attention) : undefined;
    const rows: ModuleRow[] = [];
    for (const [index, stage] of block.stages.entries()) {
      const place = { block: block.index, stage: index };
      const planned = plannedIn(stage, plan);
      if (!transformed) await replay(planned, writer, walk);
      else {
        const streams = { stage, walk, original, partly, context };
        const work = {
          ...{ plan, weights, stage, transformed, writer, context, endLoss, solver },
          bytesTogether: remote ? jobBytes : 0,
          collect: (inputs: readonly InputRequest[]) =>
            remote
              ? profile.stage('forward', () => mergedInputs(remote.collect(place, inputs)))
              : Promise.all(inputs.map((input) => collectInput(input, streams))),
          replace: (name: string, values: Tensor<'f32'>) => walk.setWeight(name, values),
          async replaceEncoded(module: string) {
            walk.setWeight(`${module}.weight`, dequantize(await writer.readModule(module)));
          },
        };
        rows.push(...(await quantizeStage(work)));
      }
      if (remote && planned.length > 0)
        await remote.written(place, { modules: await encodedModules(planned, writer), tensors: new Map() });
      // Nothing reads the output of the last stage.
      if (stage === lastStage) continue;
      for (const each of walks)
        await profile.stage('forward', () => each.run(stage, each === walk && !remote ? ranges?.see : undefined));
    }
    weights.clear();
    if (ranges && remote) for await (const largest of remote.collectCache(block.index)) ranges.merge(largest);
    if (ranges && plan.cache) await writer.writeCacheScales(ranges.attention, ranges.scales(plan.cache.scheme));
    if (original && block.stages.at(-1) !== lastStage) hiddenStates?.keep(block.index, original);
    if (replayed) return;
    const tensors = await profile.stage('pack and write', () => writer.sync());
    await journal.append({ unit: block.prefix, rows, transforms: transformed?.rows ?? [], tensors });
  };
  await walkBlocks(original ? [original, walk] : [walk], {
    async read(name) {
      const tensor = await profile.stage('read', () => source.weight(name));
      weights.set(name, tensor);
      return tensor;
    },
    visit: quantizeBlock,
    ...{ progress, task: 'quantize' },
    note: ({ prefix }) => (replayed ? `${prefix} (from the journal)` : prefix),
  });
  await remote?.finish();
}

/**
 * Bytes of statistics that another process collects for one job. The experts of a stage have a matrix each, and the
 * states of a shard are computed once for all inputs of a job.
 */
const jobBytes = 256e6;

const noModules: ReadonlyMap<string, EncodedModule> = new Map();

/** Written linears in the form of their layout, for other processes. */
async function encodedModules(
  modules: readonly PlannedModule[],
  writer: CheckpointWriter,
): Promise<ReadonlyMap<string, EncodedModule>> {
  const encoded = new Map<string, EncodedModule>();
  for (const { linear } of modules) encoded.set(linear.module, await writer.readEncoded(linear.module));
  return encoded;
}

/** Tensors of a block that transforms may have changed and that are not quantized. */
const scaledTensors = (plan: Plan, block: BlockDescription) =>
  block.tensors.filter((name) => plan.files.rewritten.has(name) && plan.changed.get(name)?.scaled);

async function writeScaled(
  plan: Plan,
  block: BlockDescription,
  loaded: BlockWeights,
  { weights }: TransformedBlock,
  writer: CheckpointWriter,
): Promise<BlockWeights> {
  const written: BlockWeights = new Map();
  for (const name of scaledTensors(plan, block)) {
    const tensor = (weights.get(name) ?? loaded.get(name)) as Tensor<'f32'>;
    await writer.writeTensor(name, tensor);
    written.set(name, tensor);
  }
  return written;
}

async function replayScaled<T>(
  plan: Plan,
  block: BlockDescription,
  writer: CheckpointWriter,
  walk: BlockWalk<T>,
): Promise<BlockWeights> {
  const written: BlockWeights = new Map();
  for (const name of scaledTensors(plan, block)) {
    const tensor = await writer.readTensor(name);
    walk.setWeight(name, tensor);
    written.set(name, tensor);
  }
  return written;
}

async function replay<T>(
  planned: readonly PlannedModule[],
  writer: CheckpointWriter,
  walk: BlockWalk<T>,
): Promise<void> {
  for (const { linear } of planned)
    walk.setWeight(`${linear.module}.weight`, dequantize(await writer.readModule(linear.module)));
}
