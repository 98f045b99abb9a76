import { type Context, type Engine, NumericError, SchemeError, type TrainingStore, yieldToEventLoop } from '@q/core';
import { joinGroup } from './group-share.js';
import type { Objective } from './objectives/objective.js';
import { clipGradients, gradientNorm } from './optimizers/clip-gradients.js';
import type { Optimizer } from './optimizers/optimizer.js';
import type { Schedule } from './optimizers/schedule.js';
import type { Parameterization } from './parameters/parameterization.js';
import type { StepMemory } from './step-memory.js';
import { readState, type TrainingState, writeState } from './training-state.js';

export interface TrainOptions {
  /** Trained tensors, by name. */
  readonly tensors: ReadonlyMap<string, Parameterization>;
  readonly objective: Objective;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /** Peak learning rate by role of the parameter (`weight`, `scale`, `zero`, ...). */
  readonly rates: Readonly<Record<string, number>>;
  /** Multiplies the rate of one tensor's parameters. Default 1. */
  readonly rateFactor?: (tensor: string, role: string) => number;
  readonly steps: number;
  /** Windows whose gradients are computed together. */
  readonly batch: number;
  /** Batches whose gradients are averaged for one step. Default 1. */
  readonly accumulate?: number;
  /** Largest norm of all gradients together. Default: none. */
  readonly clipNorm?: number;
  /**
   * Keeps the parameters of the step with the lowest loss: `batch` compares the losses of batches, `heldOut` those of
   * the held-out windows.
   */
  readonly keepBest?: 'batch' | 'heldOut';
  /** Steps between two evaluations of the held-out windows. */
  readonly evaluateEvery?: number;
  /** Number of evaluations without an improvement after which training stops. Default: never. */
  readonly patience?: number;
  readonly store?: TrainingStore;
  /** Called with the number of each step, from 0, before the step is computed. */
  readonly onStep?: (step: number) => void;
  /** Steps between two checkpoints. Default: only one at the end. */
  readonly saveEvery?: number;
  /** Name of the training in the progress. */
  readonly task?: string;
  /** The function of the objective's engine. The memory of the first step is measured with it. */
  readonly observeBytes?: Engine<unknown>['observeBytes'];
}

export interface TrainResult {
  /** Number of all steps, those of an earlier run included. */
  readonly steps: number;
  /** Mean loss of the last tenth of the steps. */
  readonly loss: number;
  readonly bestLoss?: number;
  readonly stoppedEarly: boolean;
  readonly resumedAt: number;
  readonly secondsPerStep: number;
  /** Memory of the first step, by the names of the forecast; absent if the engine cannot measure it. */
  readonly memory?: StepMemory;
  /** For a training on several workers: bytes that a worker has sent to one other, and bytes of f32 gradients. */
  readonly traffic?: { readonly sentBytes: number; readonly exactBytes: number };
}

/**
 * The loop of every training. The order of windows is drawn again for each epoch, from the seed and the number of the
 * epoch alone. So a training that continues from a checkpoint takes the steps of an uninterrupted one, to the same
 * bytes. With a group in the context each worker takes a share of the windows of a step, and all apply the mean of
 * their gradients.
 * @throws NumericError when the loss or a gradient is not finite, naming the step and the linear; nothing is saved then
 */
export async function train(options: TrainOptions, context: Context): Promise<TrainResult> {
  const { tensors, objective, optimizer, schedule, rates, steps, batch, accumulate = 1, clipNorm, store } = options;
  const { task = 'train', keepBest, evaluateEvery = steps, patience = Number.POSITIVE_INFINITY } = options;
  if (batch < 1 || batch * accumulate > objective.windows)
    throw new SchemeError(
      `a step of ${batch} x ${accumulate} windows needs as many; there are ${objective.windows}: give more windows or a smaller batch`,
    );
  const parameters = collect(tensors);
  const rateOf = (name: string): number => {
    const hash = name.indexOf('#');
    const role = name.slice(hash + 1);
    const peak = rates[role];
    if (peak === undefined) throw new SchemeError(`no learning rate is given for parameters of the kind "${role}"`);
    return peak * (options.rateFactor?.(name.slice(0, hash), role) ?? 1);
  };
  const state: TrainingState = {
    step: 0,
    bestLoss: Number.POSITIVE_INFINITY,
    sinceBest: 0,
    best: new Map(),
    recent: [],
  };
  const group = joinGroup(context.group, tensors, optimizer, batch);
  const saved = await group.load(store);
  if (saved) readState(saved, parameters, optimizer, state);
  const resumedAt = state.step;
  const save = async () => group.save(store, () => writeState(parameters, optimizer, state));
  const remember = (exact: number): boolean => {
    // f32, as in a checkpoint: a resumed run compares the same numbers.
    const loss = Math.fround(exact);
    if (!(loss < state.bestLoss)) return false;
    state.bestLoss = loss;
    for (const [name, values] of parameters) state.best.set(name, values.slice());
    return true;
  };

  const started = performance.now();
  let stoppedEarly = state.sinceBest >= patience;
  while (state.step < steps && !stoppedEarly) {
    await yieldToEventLoop(context.signal);
    const { step } = state;
    options.onStep?.(step);
    const values = valuesOf(options, state);
    const gradients = new Map<string, Float32Array>();
    let loss = 0;
    for (let part = 0; part < accumulate; part++) {
      const windows = group.share(windowsOf(step * accumulate + part, batch, objective.windows, context));
      const evaluate = () => objective.evaluate(values, windows, step * accumulate + part);
      const observed = step === 0 && part === 0 ? await options.observeBytes?.(evaluate) : undefined;
      const result = observed?.result ?? (await evaluate());
      loss += result.loss / accumulate;
      if (!Number.isFinite(result.loss)) throw await diverged(options, values, windows, state, result.loss);
      for (const [name, each] of tensors) {
        const own = each.backward(result.derivatives.get(name) as Float32Array);
        for (const [role, gradient] of Object.entries(own)) add(gradients, `${name}#${role}`, gradient, 1 / accumulate);
      }
      if (observed) {
        state.memory = {
          parameters: bytesOf(parameters) + 2 * bytesOf(values),
          gradients: bytesOf(result.derivatives) + bytesOf(gradients),
          optimizer: 0,
          activations: observed.peak - observed.before - bytesOf(values),
          frozen: observed.before,
        };
      }
    }
    loss = await group.reduce(gradients, loss, step);
    const norm = gradientNorm(gradients);
    if (!Number.isFinite(norm)) {
      const [name] = [...gradients].find(([, values]) => !values.every(Number.isFinite)) as [string, Float32Array];
      throw new NumericError(
        `training: the gradient of ${name.replace('#', ', ')}, is not finite at step ${step + 1} of ${steps} (loss ${loss}): lower the learning rate. ${kept(state, options)}`,
      );
    }
    if (keepBest === 'batch') remember(loss);
    if (clipNorm !== undefined && !group.exchangesMomenta(step)) clipGradients(gradients, norm, clipNorm);
    const share = schedule(step, steps);
    optimizer.step(parameters, gradients, (name) => rateOf(name) * share);
    if (state.memory && step === 0) state.memory = { ...state.memory, optimizer: optimizer.heldBytes() };
    state.step++;
    // f32, as in a checkpoint.
    state.recent.push(Math.fround(loss));
    if (state.recent.length > Math.max(1, steps / 10)) state.recent.shift();
    if (objective.heldOut && keepBest === 'heldOut' && (state.step % evaluateEvery === 0 || state.step === steps)) {
      const held = await objective.heldOut(valuesOf(options, state));
      if (remember(held)) state.sinceBest = 0;
      else if (++state.sinceBest >= patience) stoppedEarly = true;
    }
    const secondsLeft = ((performance.now() - started) / 1000 / (state.step - resumedAt)) * (steps - state.step);
    context.progress({
      task,
      done: state.step,
      total: steps,
      unit: 'steps',
      note: `loss ${loss.toPrecision(4)}, ${secondsLeft.toFixed(0)} s left`,
    });
    if (options.saveEvery && state.step % options.saveEvery === 0 && state.step < steps) await save();
  }
  if (state.step > resumedAt) await save();
  for (const [name, values] of state.best) parameters.get(name)?.set(values);
  const taken = state.step - resumedAt;
  return {
    steps: state.step,
    loss: state.recent.reduce((sum, loss) => sum + loss, 0) / state.recent.length,
    ...(keepBest ? { bestLoss: state.bestLoss } : {}),
    stoppedEarly,
    resumedAt,
    secondsPerStep: taken > 0 ? (performance.now() - started) / 1000 / taken : 0,
    ...(state.memory ? { memory: state.memory } : {}),
    ...(group.traffic() ? { traffic: group.traffic() } : {}),
  };
}

function bytesOf(arrays: ReadonlyMap<string, Float32Array>): number {
  return [...arrays.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** @throws NumericError naming the tensor whose parameters are not finite */
function valuesOf(options: TrainOptions, state: TrainingState): Map<string, Float32Array> {
  return new Map(
    [...options.tensors].map(([name, each]): [string, Float32Array] => {
      try {
        return [name, each.value()];
      } catch (error) {
        if (!(error instanceof NumericError)) throw error;
        throw new NumericError(
          `training: the parameters of ${name} are not finite at step ${state.step + 1} of ${options.steps}: lower the learning rate. ${kept(state, options)}`,
        );
      }
    }),
  );
}

/** All parameters of all tensors, as `tensor#role`. */
function collect(tensors: ReadonlyMap<string, Parameterization>): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { parameters }]) =>
      Object.entries(parameters).map(([role, values]): [string, Float32Array] => [`${name}#${role}`, values]),
    ),
  );
}

/** The windows of batch number `index`. Each epoch takes all of them once, in its own order. */
function windowsOf(index: number, batch: number, count: number, context: Context): Int32Array {
  const perEpoch = Math.floor(count / batch);
  const random = context.random.fork(`windows of epoch ${Math.floor(index / perEpoch)}`);
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  const start = (index % perEpoch) * batch;
  return order.slice(start, start + batch);
}

function add(sums: Map<string, Float32Array>, name: string, values: Float32Array, weight: number): void {
  const present = sums.get(name);
  if (!present) sums.set(name, weight === 1 ? values : values.map((x) => x * weight));
  else for (let i = 0; i < values.length; i++) present[i] += weight * values[i];
}

async function diverged(
  { objective, steps, ...options }: TrainOptions,
  values: ReadonlyMap<string, Float32Array>,
  windows: Int32Array,
  state: TrainingState,
  loss: number,
): Promise<NumericError> {
  const where = (await objective.locate?.(values, windows)) ?? 'unknown';
  return new NumericError(
    `training: the loss is ${loss} at step ${state.step + 1} of ${steps}; the first values that are not finite come from ${where}: lower the learning rate. ${kept(state, options)}`,
  );
}

function kept(state: TrainingState, { saveEvery, store }: Pick<TrainOptions, 'saveEvery' | 'store'>): string {
  const last = store && saveEvery ? Math.floor(state.step / saveEvery) * saveEvery : 0;
  return last > 0 ? `The checkpoint of step ${last} is kept` : 'There is no checkpoint yet';
}
