import { join } from 'node:path';
import { BlockWalk, memoryStates, walkBlocks, windowTokens } from '@q/blockwise';
import { diskStates } from '@q/blockwise/disk';
import { type Collector, createCollector, type Windows } from '@q/calib';
import { type CheckpointWriter, takeRows } from '@q/checkpoint';
import {
  absMaxStat,
  type BlockDescription,
  type BlockWeights,
  CalibrationError,
  type Context,
  countTokens,
  dequantize,
  type ForwardEngine,
  hessian,
  type ModelDescription,
  NumericError,
  type Stage,
  type Statistic,
  staticInputScale,
  type Tensor,
  tokenFrequencies,
} from '@q/core';
import { type EndLoss, solverWeights } from '@q/end-loss';
import { activationFiles } from '../blocks/activation-files.js';
import { CacheRanges } from '../blocks/cache-ranges.js';
import { collect, comparedOutput } from '../blocks/collect.js';
import { stageInputs } from '../blocks/stage-inputs.js';
import { type TransformedBlock, transformBlock } from '../blocks/transform-block.js';
import { type ModelSource, rewriteModel } from '../plan/model-source.js';
import { pairedShare } from '../plan/paired-share.js';
import { isStatic, type Plan, type PlannedModule } from '../plan/plan.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import { headInputs } from './head-inputs.js';
import type { HiddenStates } from './hidden-states.js';
import { outsideBlocks, quantizeOutside } from './outside-blocks.js';
import type { RemoteModule, RemoteSolver } from './remote-modules.js';
import type { RunWork } from './run-work.js';
import { type CollectedInput, type SolverInputs, solveModule } from './solve-module.js';

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
}

/**
 * Quantizes block by block, stage by stage (true-sequential). For each stage it records the inputs, quantizes and
 * writes the linears, and replaces them with the written ones. Then the stage runs and gives the next stage's inputs.
 * No block runs twice.
 */
export async function runCalibrated<T>(
  { plan, writer, journal, context }: RunWork,
  { engine, windows, out, hiddenStates, endLoss, solver }: CalibratedRun<T>,
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
  const open = (name: string): BlockWalk<T> =>
    new BlockWalk({
      ...{ model, engine, windows, batch: plan.forecast.batch, signal: context.signal, store: store(name) },
    });
  const walk = open(ownStates);
  // The unquantized model on the same windows, if a method compares with it.
  const original = pairedTokens > 0 ? open(originalStates) : undefined;
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
    });
  } finally {
    for (const each of walks) {
      each.clearWeights();
      each.dispose();
    }
  }
  await quantizeHeads();
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
}

async function quantizeBlocks<T>(run: BlocksRun<T>): Promise<void> {
  const { plan, source, model, writer, journal, walk, original, context, hiddenStates, endLoss, solver } = run;
  const walks = original ? [walk, original] : [walk];
  const { profile, progress } = context;
  await embedWindows(run);
  const lastStage = model.blocks.at(-1)?.stages.at(-1);
  // Each tensor of a block is read once. The walks, the transforms and the methods all take it from this map.
  const weights: BlockWeights = new Map();
  let replayed = false;
  const quantizeBlock = async (block: BlockDescription): Promise<void> => {
    replayed = journal.finished.has(block.prefix);
    // Transforms keep the function, so the unquantized model is not changed. Its inputs are scaled where they are used.
    const transformed = replayed
      ? undefined
      : await profile.stage('transform', () => transformBlock(plan, block, weights, walk, context));
    if (transformed) await writeScaled(plan, block, weights, transformed, writer);
    else await replayScaled(plan, block, writer, walk);
    for (const each of walks) await profile.stage('forward', () => each.begin(block));
    const attention = plan.cache?.modules[block.index];
    const ranges = transformed && attention !== undefined ? new CacheRanges(attention) : undefined;
    const rows: ModuleRow[] = [];
    for (const stage of block.stages) {
      if (!transformed) await replay(plan, stage, writer, walk);
      else {
        const work = { ...{ plan, weights, stage, transformed, walk, original, writer, context }, endLoss, solver };
        rows.push(...(await quantizeStage(work)));
      }
      // Nothing reads the output of the last stage.
      if (stage === lastStage) continue;
      for (const each of walks)
        await profile.stage('forward', () => each.run(stage, each === walk ? ranges?.see : undefined));
    }
    weights.clear();
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
}

/**
 * Computes the first block's inputs from ids, in both models. The tables are not needed again, and may be most of a
 * model.
 */
async function embedWindows<T>({
  source,
  model,
  walk,
  original,
  pairedTokens,
  tables,
  context,
}: BlocksRun<T>): Promise<void> {
  const { profile } = context;
  // The table of tokens has the rows of the windows' tokens alone.
  const tokens = model.tokenTable === undefined ? undefined : windowTokens(walk.windows);
  const someRows = (name: string) => (name === model.tokenTable ? tokens : undefined);
  const read = (name: string) => {
    const some = someRows(name);
    return some ? source.rows(name, some.ids) : source.weight(name);
  };
  // Without an unquantized model, no stream reads the original of a quantized table.
  const names = model.embeddingTensors.filter((name) => original || !tables.has(name));
  const weights: BlockWeights = new Map();
  for (const name of names) weights.set(name, await profile.stage('read', () => read(name)));
  for (const [name, tensor] of weights) (original ?? walk).setWeight(name, tensor);
  if (original) walk.borrowWeights(original);
  await profile.stage('forward', async () => original?.embed(pairedTokens, tokens));
  if (original && tables.size > 0) {
    // One table is loaded at a time, because the engine's memory grows and does not shrink.
    walk.clearWeights();
    original.clearWeights();
    for (const [name, values] of weights) if (!tables.has(name)) walk.setWeight(name, values);
    weights.clear();
  }
  for (const [name, values] of tables) {
    const some = someRows(name);
    walk.setWeight(name, some ? takeRows(values, some.ids) : values);
  }
  tables.clear();
  await profile.stage('forward', () => walk.embed(1, tokens));
  // The walk that borrows is cleared first: see `clearWeights`.
  walk.clearWeights();
  original?.clearWeights();
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
): Promise<void> {
  for (const name of scaledTensors(plan, block))
    await writer.writeTensor(name, (weights.get(name) ?? loaded.get(name)) as Tensor<'f32'>);
}

async function replayScaled<T>(
  plan: Plan,
  block: BlockDescription,
  writer: CheckpointWriter,
  walk: BlockWalk<T>,
): Promise<void> {
  for (const name of scaledTensors(plan, block)) walk.setWeight(name, await writer.readTensor(name));
}

async function replay<T>(plan: Plan, stage: Stage, writer: CheckpointWriter, walk: BlockWalk<T>): Promise<void> {
  for (const module of stage.linears) {
    if (plan.modules.has(module)) walk.setWeight(`${module}.weight`, dequantize(await writer.readModule(module)));
  }
}

interface StageWork<T> {
  readonly plan: Plan;
  /** The block's tensors as they were read. */
  readonly weights: BlockWeights;
  readonly stage: Stage;
  readonly transformed: TransformedBlock;
  readonly walk: BlockWalk<T>;
  readonly original: BlockWalk<T> | undefined;
  readonly writer: CheckpointWriter;
  readonly context: Context;
  readonly endLoss: EndLoss | undefined;
  readonly solver: RemoteSolver | undefined;
}

async function quantizeStage<T>(work: StageWork<T>): Promise<ModuleRow[]> {
  const { plan, weights, stage, transformed, walk, original, context, endLoss, solver } = work;
  const planned = stage.linears.map((module) => plan.modules.get(module)).filter((module) => module !== undefined);
  const rows: ModuleRow[] = [];
  // Linears of a stage read the states before it, so other processes solve some linears while the next input is
  // collected.
  const elsewhere: Promise<readonly RemoteModule[]>[] = [];
  const settle = async () => {
    for (const module of (await elsewhere.shift()) ?? []) rows.push(await writeRemote(work, module));
  };
  try {
    for (const { part, routed, weighted, modules } of stageInputs(stage, planned)) {
      const needs = new Map<string, Statistic<any>>();
      for (const { quantizer } of modules)
        for (const statistic of quantizer.needs) needs.set(statistic.name, statistic);
      // Clamping a weight reduces the error of the outputs and increases the error of the weight, so only its inputs
      // can judge it.
      const clamped = modules.some(({ linear: { module } }) => transformed.clipped.has(`${module}.weight`));
      if (clamped && ![...needs.values()].some(({ metric }) => metric !== undefined)) needs.set(hessian.name, hessian);
      const wantsRange = modules.some(({ activation }) => isStatic(activation));
      if (wantsRange && weighted === 0) needs.set(absMaxStat.name, absMaxStat);
      const [{ linear: first }] = modules;
      const collector = createCollector([...needs.values()], first.inFeatures, first.module);
      const inputScales = transformed.inputScales.get(first.module);
      const output = comparedOutput(stage, needs.values());
      const reference = original && { walk: original, stage, inputScales, output };
      const tokenWeights = weighted > 0 ? weightsOf(modules, weighted, endLoss) : undefined;
      await collect(collector, walk, context, { original: reference, part, tokenWeights });
      // Weights of tokens are for sums. A range is that of the unweighted inputs.
      const ranges =
        wantsRange && weighted > 0 ? createCollector([absMaxStat], first.inFeatures, first.module) : collector;
      if (ranges !== collector) await collect(ranges, walk, context, { part });
      const { statistics, tokens } = collector;
      const input: CollectedInput = { statistics, kinds: [...needs.values()], tokens };
      const requests = modules.map((module): SolverInputs => {
        const tensorName = `${module.linear.module}.weight`;
        const weight = (transformed.weights.get(tensorName) ?? weights.get(tensorName)) as Tensor<'f32'>;
        const outputs = module.quantizer.endLoss?.outputs ? endLoss?.outputs.get(module.linear.module) : undefined;
        const activation = calibratedInput(module, ranges);
        return {
          planned: { ...module, ...(activation ? { activation } : {}) },
          ...{ weight, clipped: transformed.clipped.get(tensorName) ?? weight, input, routed },
          ...(outputs ? { outputs } : {}),
        };
      });
      if (solver) {
        elsewhere.push(watched(solver.solve(requests)));
        if (elsewhere.length >= inputsElsewhere) await settle();
      } else for (const inputs of requests) rows.push(await quantizeHere(work, inputs));
    }
    while (elsewhere.length > 0) await settle();
  } finally {
    await Promise.allSettled(elsewhere);
  }
  return rows;
}

/**
 * Inputs whose linears other processes solve at a time. Each stays in memory with its statistics until it is in the
 * store.
 */
const inputsElsewhere = 16;

/** A promise that is awaited later. Until then its failure counts as handled. */
function watched<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

async function quantizeHere<T>(
  { plan, walk, writer, context }: StageWork<T>,
  inputs: SolverInputs,
): Promise<ModuleRow> {
  const { planned } = inputs;
  const { module } = planned.linear;
  const guarded = await solveModule(plan, inputs, context);
  await context.profile.stage('pack and write', () =>
    writer.writeModule(module, guarded.quantized, planned.activation),
  );
  for (const text of guarded.report.notes) context.logger.warn(`${module}: ${text}`);
  walk.setWeight(`${module}.weight`, guarded.values as Tensor<'f32'>);
  return moduleRow(plan, planned, guarded);
}

/**
 * Writes the result of another process. The written weight then replaces the original in the model, like that of an
 * earlier run.
 */
async function writeRemote<T>(
  { walk, writer, context }: StageWork<T>,
  { row, ...encoded }: RemoteModule,
): Promise<ModuleRow> {
  const { module } = row;
  await context.profile.stage('pack and write', () => writer.writeEncoded(module, encoded));
  for (const text of row.notes) context.logger.warn(`${module}: ${text}`);
  walk.setWeight(`${module}.weight`, dequantize(await writer.readModule(module)));
  return row;
}

/** @throws CalibrationError when there are no token weights for a linear whose method needs them */
function weightsOf(modules: readonly PlannedModule[], strength: number, endLoss: EndLoss | undefined): Float32Array {
  return solverWeights(
    modules.map(({ linear: { module } }) => {
      const own = endLoss?.tokens.get(module);
      if (!own)
        throw new CalibrationError(
          `${module}: its method reads gradients of the end loss, and none were given: hand in endLoss`,
        );
      return own;
    }),
    { strength },
  );
}

/** A static scheme of inputs with the scale of the collected inputs. */
function calibratedInput({ linear, activation }: PlannedModule, { statistics }: Collector) {
  if (!isStatic(activation)) return activation;
  try {
    return { ...activation, scale: staticInputScale(statistics.get(absMaxStat)) };
  } catch (error) {
    if (error instanceof NumericError) throw new NumericError(`${linear.module}: ${error.message}`);
    throw error instanceof CalibrationError ? new CalibrationError(`${linear.module}: ${error.message}`) : error;
  }
}
