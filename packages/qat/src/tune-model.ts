import {
  type Context,
  type ModelDescription,
  type QuantizedTensor,
  type Runtime,
  type Scheme,
  SchemeError,
  type Tensor,
  type TokenWindows,
  type TrainingStore,
  type TunedModule,
  type TunerForecast,
  type TunerInput,
} from '@q/core';
import { createRuntime } from '@q/models';
import { comparedWithStart, moduleOf } from './compared-with-start.js';
import {
  checkMemory,
  describeMemory,
  forecastTraining,
  memoryFigures,
  type TrainingMemory,
  trainedParameters,
} from './memory.js';
import { type LossWeights, selfTeacher } from './objectives/model-loss.js';
import { modelObjective } from './objectives/model-objective.js';
import type { Optimizer } from './optimizers/optimizer.js';
import type { Schedule } from './optimizers/schedule.js';
import type { QuantizedParameterization } from './parameters/parameterization.js';
import { type TrainResult, train } from './train.js';

/** Settings of a training on the end loss. */
export interface ModelTuning {
  /**
   * Makes the trained parameters of a linear from its original weight and the quantizer's result.
   * @param step number of the step that is computed, from 0
   */
  parameterize(
    original: Tensor<'f32'>,
    start: QuantizedTensor,
    context: Context,
    module: string,
    step: () => number,
  ): QuantizedParameterization;
  readonly loss: LossWeights;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly rates: Readonly<Record<string, number>>;
  /** Multiplies the rate of a parameter by the scheme of its tensor. */
  rateFactor?(scheme: Scheme, role: string, start: QuantizedTensor): number;
  readonly epochs: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly clipNorm?: number;
  readonly heldOut: number;
  readonly patience: number;
  readonly checkpointing: boolean;
  readonly saveEvery?: number;
  /** Bytes that training may take. */
  readonly memory: number;
  /** Whether the weights themselves are trained: for the memory forecast. */
  readonly trainsWeights: boolean;
  /**
   * Compares the trained model with its start on the first windows, and keeps the start unless training improved it.
   */
  readonly keepsBetterStart?: boolean;
  /** Wraps the trained model's runtime: quantized activations and cache. */
  wrap?<T>(runtime: Runtime<T>, model: ModelDescription): Runtime<T>;
  readonly task: string;
}

export interface TunedModel {
  /** The parameterizations, by module name. */
  readonly modules: ReadonlyMap<string, QuantizedParameterization>;
  readonly result: TrainResult;
  readonly trainedParameters: number;
  readonly memory: TrainingMemory;
  readonly notes: readonly string[];
}

export function stepsOf(
  tuning: Pick<ModelTuning, 'epochs' | 'batch' | 'accumulate' | 'heldOut'>,
  count: number,
): number {
  return tuning.epochs * Math.max(1, Math.floor((count - tuning.heldOut) / (tuning.batch * tuning.accumulate)));
}

/**
 * Predicts the memory of a training.
 * @throws SchemeError when it is more than the tuning is allowed, naming the batch that fits
 */
export function forecastTuning(
  model: ModelDescription,
  modules: readonly TunedModule[],
  windows: Pick<TokenWindows, 'count' | 'length'>,
  tuning: ModelTuning,
): TunerForecast {
  const { checkpointing, optimizer, trainsWeights, loss } = tuning;
  const shape = { checkpointing, optimizer, weights: trainsWeights, teacher: loss.teacher > 0 };
  const steps = stepsOf(tuning, windows.count);
  const predict = (batch: number) => forecastTraining(model, modules, windows, { ...shape, batch }, steps);
  checkMemory(predict, tuning.batch, tuning.memory);
  return predict(tuning.batch);
}

/**
 * Trains all linears of a model together on its end loss. The unquantized weights are on the engine while the teacher's
 * hidden states are computed; then those of the trained linears are freed.
 */
export async function tuneModel<T>(
  input: TunerInput<T>,
  tuning: ModelTuning,
  context: Context,
  store: TrainingStore | undefined = input.store,
): Promise<TunedModel> {
  const { model, engine, source, start, windows } = input;
  const { ops } = engine;
  const forecast = forecastTuning(model, tunedModules(input), windows, tuning);
  context.logger.info(`training is predicted to need ${describeMemory(forecast)}`);
  const frozen = new Map<string, T>();
  try {
    const originals = new Map<string, Tensor<'f32'>>();
    for (const name of model.expected.keys()) {
      const tensor = await source.weight(name);
      frozen.set(name, ops.keep(ops.fromTensor(tensor)));
      if (start.has(moduleOf(name))) originals.set(name, tensor);
    }
    const original = createRuntime(ops, frozen, { ties: model.ties });
    const teacher =
      tuning.loss.teacher > 0
        ? await selfTeacher(model, original, windows, tuning.batch, async () => context.signal?.throwIfAborted())
        : undefined;
    const tensors = new Map<string, QuantizedParameterization>();
    let current = 0;
    for (const [name, tensor] of originals) {
      const module = moduleOf(name);
      const own = start.get(module) as QuantizedTensor;
      tensors.set(
        name,
        tuning.parameterize(tensor, own, context, module, () => current),
      );
      ops.dispose(frozen.get(name) as T);
      frozen.delete(name);
    }
    const objective = modelObjective({
      ops,
      model,
      frozen,
      shapes: new Map([...tensors].map(([name, each]) => [name, each.shape])),
      windows,
      loss: tuning.loss,
      teacher,
      heldOut: tuning.heldOut,
      checkpointing: tuning.checkpointing,
      wrap: tuning.wrap && ((runtime) => tuning.wrap?.(runtime, model) ?? runtime),
    });
    const steps = stepsOf(tuning, windows.count);
    const epoch = Math.max(1, steps / tuning.epochs);
    const { optimizer, schedule, rates, batch, accumulate, clipNorm, heldOut, patience, task } = tuning;
    const factorOf = (tensor: string, role: string) => {
      const own = start.get(moduleOf(tensor)) as QuantizedTensor;
      return tuning.rateFactor?.(own.scheme, role, own) ?? 1;
    };
    const result = await train(
      {
        tensors,
        objective,
        optimizer,
        schedule,
        rates,
        ...(tuning.rateFactor ? { rateFactor: factorOf } : {}),
        steps,
        batch,
        accumulate,
        clipNorm,
        store,
        saveEvery: tuning.saveEvery ?? epoch,
        ...(heldOut > 0 ? { keepBest: 'heldOut', evaluateEvery: epoch, patience } : {}),
        task,
        observeBytes: engine.observeBytes,
        onStep(next) {
          current = next;
        },
      },
      context,
    );
    for (const each of tensors.values()) each.settle?.();
    const notes = result.stoppedEarly
      ? [`stopped after ${result.steps} of ${steps} steps: the held-out loss has not fallen for ${patience} epochs`]
      : [];
    if (tuning.keepsBetterStart) {
      const [own, before] = await comparedWithStart(objective, tensors, input, batch, context);
      if (own >= before) {
        for (const each of tensors.values()) each.restart?.();
        notes.push("training did not lower the loss of the whole model, the quantizer's codes are kept");
      }
    }
    return {
      ...{ modules: new Map([...tensors].map(([name, each]) => [moduleOf(name), each])), result, notes },
      trainedParameters: trainedParameters(tunedModules(input), tuning.trainsWeights),
      memory: {
        predicted: forecast.memory,
        ...(result.memory ? { measured: { ...result.memory, teacher: teacher?.bytes ?? 0 } } : {}),
      },
    };
  } finally {
    for (const handle of frozen.values()) ops.dispose(handle);
  }
}

/** Figures of a training for the report. */
export function tuningFigures({ result, trainedParameters, memory }: TunedModel): Record<string, number> {
  const { steps, loss, secondsPerStep, bestLoss, traffic } = result;
  return {
    ...{ steps, loss, trainedParameters, secondsPerStep },
    ...(bestLoss === undefined ? {} : { heldOutLoss: bestLoss }),
    ...(traffic ? { sentBytes: traffic.sentBytes, exactGradientBytes: traffic.exactBytes } : {}),
    ...memoryFigures(memory),
  };
}

export function quantizedModules({ modules }: Pick<TunedModel, 'modules'>): Map<string, QuantizedTensor> {
  return new Map([...modules].map(([module, each]) => [module, each.quantized()]));
}

/** @throws SchemeError naming a quantized module that is not a linear of a block */
export function tunedModules<T>({ model, start }: Pick<TunerInput<T>, 'model' | 'start'>): TunedModule[] {
  const linears = new Map(model.blocks.flatMap((block) => block.linears).map((linear) => [linear.module, linear]));
  return [...start].map(([module, { scheme }]) => {
    const linear = linears.get(module);
    if (!linear) throw new SchemeError(`${module} is not a linear of a block: it cannot be trained`);
    return { linear, scheme };
  });
}
