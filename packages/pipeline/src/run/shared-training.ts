import { deserialize, serialize } from 'node:v8';
import type { Windows } from '@q/calib';
import {
  type Context,
  type Engine,
  FormatError,
  type ModelDescription,
  type QuantizedTensor,
  SchemeError,
  type TrainingGroup,
  type Tuner,
} from '@q/core';
import { rewriteModel } from '../plan/model-source.js';
import type { Plan } from '../plan/plan.js';

/** Processes that train one model together; see `TrainingGroup`. */
export interface WorkerGroup {
  readonly group: TrainingGroup;
  /** Sends the bytes of worker 0 to all workers and returns them. The other workers pass no bytes. */
  broadcast(bytes?: Uint8Array): Promise<Uint8Array>;
  /** Ends the connections. With a reason, the other workers stop and report it. */
  close(reason?: string): Promise<void>;
}

/** The initial state of a training. Schemes are those of the plan, which all workers have. */
interface TrainingStart {
  readonly windows: Pick<Windows, 'ids' | 'count' | 'length'>;
  readonly modules: readonly (readonly [module: string, tensor: Omit<QuantizedTensor, 'scheme'>])[];
}

/** @throws SchemeError for trainings that workers cannot share */
export function checkSharedTraining(tuner: Tuner | undefined): void {
  if (!tuner)
    throw new SchemeError('workers share a training, and this recipe trains nothing: take a method such as qaft');
  if (tuner.blockByBlock)
    throw new SchemeError(
      `${tuner.name} trains one block after the other on its own output: workers share trainings on the end loss (qaft, llm-qat, peqa)`,
    );
}

/** Worker 0 sends the others the windows, and the linears from the quantizers. */
export async function sendStart(
  workers: WorkerGroup,
  { ids, count, length }: Windows,
  start: ReadonlyMap<string, QuantizedTensor>,
): Promise<void> {
  const value: TrainingStart = {
    windows: { ids, count, length },
    modules: [...start].map(([module, { scheme: _, ...tensor }]) => [module, tensor]),
  };
  await workers.broadcast(serialize(value));
}

/**
 * The work of every worker except worker 0: it receives the start, trains with the others, and keeps no result.
 * @param plan made of the same recipe and model as worker 0's
 * @throws FormatError when the start belongs to another plan
 */
export async function trainAlong<T>(
  plan: Plan,
  engine: Engine<T>,
  workers: WorkerGroup,
  context: Context,
): Promise<void> {
  const tuner = plan.recipe.tuner as Tuner;
  checkSharedTraining(tuner);
  const { windows, modules } = deserialize(await workers.broadcast()) as TrainingStart;
  const start = new Map(
    modules.map(([module, tensor]): [string, QuantizedTensor] => {
      const planned = plan.modules.get(module);
      if (!planned)
        throw new FormatError(`${module}: worker 0 trains it, and it is not planned here: use the same recipe`);
      return [module, { ...tensor, scheme: planned.scheme }];
    }),
  );
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  await tuner.tune(
    { model: plan.model as ModelDescription, engine, source, start, windows },
    { ...context, group: workers.group },
  );
}
