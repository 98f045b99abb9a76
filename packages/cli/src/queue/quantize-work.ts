import type { Checkpoint } from '@q/checkpoint';
import { createContext, type DType, FormatError, type Tensor, viewBytes } from '@q/core';
import { type Coordinator, type Job, packParts, RefusedRunError, sumOfParts, unpackParts } from '@q/distributed';
import {
  computeModule,
  type LayerRow,
  moduleIdentity,
  type Plan,
  planRun,
  type RemoteModule,
  type RemoteModules,
  type Rule,
  recipeJSON,
  refuseRemote,
  rewriteModel,
} from '@q/pipeline';
import { type RecipeRequest, recipeOf } from '../recipe-flags.js';
import { UsageError } from '../usage-error.js';
import { version } from '../version.js';
import { errorOf, failureOf, type JobFailure } from './job-failure.js';
import type { JobKind } from './job-kind.js';
import type { QueueRun } from './queue-run.js';
import { openStoredModel, publishText, readText, type StoredModel, storeModel } from './stored-model.js';

/** What a worker needs to make the same plan. */
interface QuantizeRun {
  readonly request: RecipeRequest;
  /** Rules before those of the request: linears that turned out to be kept. */
  readonly kept: readonly Rule[];
  /** Sum of the recipe that comes of them. */
  readonly recipe: string;
  /** Object of the store that describes the model. */
  readonly model: string;
}

/** A linear in an object of the store. */
type ResultHeader =
  | {
      readonly row: LayerRow;
      readonly reordered: boolean;
      readonly tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }[];
    }
  | { readonly failure: JobFailure };

const recipeSum = (plan: Plan) => sumOfParts(JSON.stringify(recipeJSON(plan.recipe)));

export interface RemoteQuantization {
  readonly checkpoint: Checkpoint;
  readonly request: RecipeRequest;
  /** Number of rules of the requested recipe: those before them are of linears that are kept. */
  readonly rules: number;
  /** Name of the kernels that the run is computed with. */
  readonly kernels: string;
}

/** How often a result that is damaged is computed again before the store is given up. */
const repairs = 3;

/**
 * Has the linears of a data-free plan quantized by the workers of a queue.
 * @throws UsageError when the plan cannot be carried out linear by linear
 */
export function remoteModules(
  run: QueueRun,
  { checkpoint, request, rules, kernels }: RemoteQuantization,
): RemoteModules {
  const { store, command } = run;
  const { signal } = command;
  let storing: Promise<StoredModel> | undefined;
  return async function* remote(plan, modules) {
    const refusal = refuseRemote(plan);
    if (refusal) throw new UsageError(`--queue: ${refusal}`);
    storing ??= storeModel(checkpoint, store, { signal, progress: command.terminal.progress });
    const model = await storing;
    const modelName = await publishText(store, model);
    const sums = new Map(model.tensors.map(({ name, sum }) => [name, sum]));
    const whole = (plan.recipe.transforms?.length ?? 0) > 0;
    const jobs = modules.map((planned): Job => {
      const unit = planned.linear.module;
      const source = (whole ? undefined : sums.get(`${unit}.weight`)) ?? modelName;
      return { id: sumOfParts('quantize', version, kernels, moduleIdentity(plan, planned), source), unit };
    });
    const coordinator = await run.coordinate({
      ...{ kind: 'quantize', version, kernels },
      ...({
        ...{ request, kept: plan.recipe.rules.slice(0, plan.recipe.rules.length - rules) },
        ...{ recipe: recipeSum(plan), model: modelName },
      } satisfies QuantizeRun),
    });
    try {
      await coordinator.add(jobs);
      for (const job of jobs) yield await remoteModule(coordinator, job);
    } finally {
      await coordinator.close();
    }
  };
}

async function remoteModule(coordinator: Coordinator, job: Job): Promise<RemoteModule> {
  for (let attempt = 1; ; attempt++) {
    try {
      return readResult(await coordinator.result(job), job);
    } catch (error) {
      if (!(error instanceof FormatError) || attempt > repairs) throw error;
      await coordinator.again(job);
    }
  }
}

function readResult(bytes: Uint8Array, { id, unit }: Job): RemoteModule {
  const { header, parts } = unpackParts<ResultHeader>(bytes, `the result of ${unit} (${id})`);
  if ('failure' in header) throw errorOf(header.failure);
  const { row, reordered, tensors } = header;
  const entries = tensors.map(({ name, dtype, shape }, i): [string, Tensor] => [
    name,
    { dtype, shape, data: viewBytes(dtype, parts[i]) },
  ]);
  return { row, reordered, tensors: new Map(entries) };
}

function writeResult({ row, reordered, tensors }: RemoteModule): Uint8Array {
  const all = [...tensors];
  return packParts<ResultHeader>({
    header: { row, reordered, tensors: all.map(([name, { dtype, shape }]) => ({ name, dtype, shape })) },
    parts: all.map(([, { data }]) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  });
}

/** Quantizes linears of a data-free run for the process that writes the folder. */
export const quantizeWork: JobKind = {
  name: 'quantize',
  async open(run, { store, vocabulary, compute }) {
    const { request, kept, recipe: sum, model: modelName } = run as unknown as QuantizeRun;
    const model = await readText<StoredModel>(store, modelName, 'the list of the tensors of a model');
    const checkpoint = await openStoredModel(model, store, vocabulary);
    const { recipe } = await recipeOf(request, vocabulary);
    const plan = planRun(checkpoint, { ...recipe, rules: [...kept, ...recipe.rules] });
    if (recipeSum(plan) !== sum)
      throw new RefusedRunError(
        'the job is of another recipe: here its flags make other settings. Start the worker with the same --use as the run',
      );
    const { kernels } = compute;
    const context = createContext({ kernels, seed: recipe.seed });
    const source = rewriteModel(checkpoint, plan.recipe, kernels);
    return {
      async compute(unit) {
        try {
          return writeResult(await computeModule(plan, source, unit, context));
        } catch (error) {
          const failure = failureOf(error);
          if (!failure) throw error;
          return packParts<ResultHeader>({ header: { failure }, parts: [] });
        }
      },
      close: () => checkpoint.close(),
    };
  },
};
