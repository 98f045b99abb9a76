import type { Collector } from '@q/calib';
import type { CheckpointWriter } from '@q/checkpoint';
import {
  absMaxStat,
  type BlockWeights,
  CalibrationError,
  type Context,
  NumericError,
  type Stage,
  staticInputScale,
  type Tensor,
} from '@q/core';
import { type EndLoss, solverWeights } from '@q/end-loss';
import { type StageInput, stageInputs } from '../blocks/stage-inputs.js';
import type { TransformedBlock } from '../blocks/transform-block.js';
import { isStatic, type Plan, type PlannedModule } from '../plan/plan.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import { type InputRequest, type InputStatistics, neededStatistics, plannedIn } from './collect-input.js';
import type { RemoteModule, RemoteSolver } from './remote-modules.js';
import { type CollectedInput, type SolverInputs, solveModule } from './solve-module.js';

/** A stage whose linears are quantized, and the parts of the run that do it. */
export interface StageWork {
  readonly plan: Plan;
  /** The block's tensors as they were read. */
  readonly weights: BlockWeights;
  readonly stage: Stage;
  readonly transformed: TransformedBlock;
  readonly writer: CheckpointWriter;
  readonly context: Context;
  readonly endLoss: EndLoss | undefined;
  readonly solver: RemoteSolver | undefined;
  /** Inputs whose statistics take at most this many bytes are collected together. 0: one after the other. */
  readonly bytesTogether: number;
  /** Collects statistics of inputs of the stage, on all windows. */
  collect(inputs: readonly InputRequest[]): Promise<readonly InputStatistics[]>;
  /** Called with the values of a written weight, by its tensor name: later stages run with them. */
  replace(name: string, values: Tensor<'f32'>): void;
  /** The same for a linear that another process has quantized, by its name. */
  replaceEncoded(module: string): Promise<void>;
}

/** Quantizes and writes the planned linears of a stage. */
export async function quantizeStage(work: StageWork): Promise<ModuleRow[]> {
  const { plan, weights, stage, transformed, endLoss, solver } = work;
  const rows: ModuleRow[] = [];
  // Linears of a stage read the states before it, so other processes solve some linears while the next input is
  // collected.
  const elsewhere: Promise<readonly RemoteModule[]>[] = [];
  const settle = async () => {
    for (const module of (await elsewhere.shift()) ?? []) rows.push(await writeRemote(work, module));
  };
  try {
    for (const group of inputGroups(stageInputs(stage, plannedIn(stage, plan)), work)) {
      const requested = group.map((input): InputRequest => {
        const kinds = neededStatistics(input, transformed.clipped);
        const inputScales = transformed.inputScales.get(input.modules[0].linear.module);
        return {
          ...{ input, kinds },
          ...(input.weighted > 0 ? { tokenWeights: weightsOf(input, endLoss) } : {}),
          ...(inputScales ? { inputScales } : {}),
        };
      });
      const collected = await work.collect(requested);
      for (const [index, { input, kinds }] of requested.entries()) {
        const { collector, ranges } = collected[index];
        const { statistics, tokens } = collector;
        const own: CollectedInput = { statistics, kinds, tokens };
        const requests = input.modules.map((module): SolverInputs => {
          const tensorName = `${module.linear.module}.weight`;
          const weight = (transformed.weights.get(tensorName) ?? weights.get(tensorName)) as Tensor<'f32'>;
          const outputs = module.quantizer.endLoss?.outputs ? endLoss?.outputs.get(module.linear.module) : undefined;
          const activation = calibratedInput(module, ranges);
          return {
            planned: { ...module, ...(activation ? { activation } : {}) },
            ...{ weight, clipped: transformed.clipped.get(tensorName) ?? weight, input: own, routed: input.routed },
            ...(outputs ? { outputs } : {}),
          };
        });
        if (solver) {
          elsewhere.push(watched(solver.solve(requests)));
          if (elsewhere.length >= inputsElsewhere) await settle();
        } else for (const inputs of requests) rows.push(await quantizeHere(work, inputs));
      }
    }
    while (elsewhere.length > 0) await settle();
  } finally {
    await Promise.allSettled(elsewhere);
  }
  return rows;
}

/** Inputs in groups whose statistics are collected together, in order. */
function inputGroups(
  inputs: readonly StageInput[],
  { transformed, bytesTogether }: StageWork,
): readonly (readonly StageInput[])[] {
  const groups: StageInput[][] = [];
  let left = 0;
  for (const input of inputs) {
    const { inFeatures } = input.modules[0].linear;
    const bytes = neededStatistics(input, transformed.clipped).reduce((sum, kind) => sum + kind.bytes(inFeatures), 0);
    if (groups.length > 0 && bytes <= left) groups[groups.length - 1].push(input);
    else {
      groups.push([input]);
      left = bytesTogether;
    }
    left -= bytes;
  }
  return groups;
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

async function quantizeHere({ plan, replace, writer, context }: StageWork, inputs: SolverInputs): Promise<ModuleRow> {
  const { planned } = inputs;
  const { module } = planned.linear;
  const guarded = await solveModule(plan, inputs, context);
  await context.profile.stage('pack and write', () =>
    writer.writeModule(module, guarded.quantized, planned.activation),
  );
  for (const text of guarded.report.notes) context.logger.warn(`${module}: ${text}`);
  replace(`${module}.weight`, guarded.values as Tensor<'f32'>);
  return moduleRow(plan, planned, guarded);
}

/**
 * Writes the result of another process. The written weight then replaces the original in the model, like that of an
 * earlier run.
 */
async function writeRemote(
  { replaceEncoded, writer, context }: StageWork,
  { row, ...encoded }: RemoteModule,
): Promise<ModuleRow> {
  const { module } = row;
  await context.profile.stage('pack and write', () => writer.writeEncoded(module, encoded));
  for (const text of row.notes) context.logger.warn(`${module}: ${text}`);
  await replaceEncoded(module);
  return row;
}

/** @throws CalibrationError when there are no token weights for a linear whose method needs them */
function weightsOf({ modules, weighted: strength }: StageInput, endLoss: EndLoss | undefined): Float32Array {
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
    return { ...activation, scale: staticInputScale(statistics.get(absMaxStat), activation.scheme.format) };
  } catch (error) {
    if (error instanceof NumericError) throw new NumericError(`${linear.module}: ${error.message}`);
    throw error instanceof CalibrationError ? new CalibrationError(`${linear.module}: ${error.message}`) : error;
  }
}
