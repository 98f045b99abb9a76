import {
  type BlockDescription,
  type DifferentiableOps,
  type ModelDescription,
  type Runtime,
  SchemeError,
  type TokenWindows,
} from '@q/core';
import { createRuntime, runBlock } from '@q/models';
import {
  checkTeacher,
  type HeadTargets,
  headLoss,
  type LossWeights,
  lastHidden,
  pick,
  type Teacher,
} from './model-loss.js';
import type { LossAndDerivatives, Objective, TensorValues } from './objective.js';

export interface ModelObjectiveOptions<T> {
  readonly ops: DifferentiableOps<T>;
  readonly model: ModelDescription;
  /** Tensors that are not trained, on the engine. Trained tensors may be in the map; they are not read. */
  readonly frozen: ReadonlyMap<string, T>;
  /** Shapes of the trained tensors. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly windows: TokenWindows;
  readonly loss: LossWeights;
  /** The teacher on the same windows; needed if the loss has a weight for it. */
  readonly teacher?: Teacher<T>;
  /** Number of windows at the end that are held out. */
  readonly heldOut?: number;
  /**
   * Wraps the runtime of the trained model: quantized activations and cache, adapters. `batch` is the number of the
   * batch in training, and absent in scoring.
   */
  readonly wrap?: (runtime: Runtime<T>, batch?: number) => Runtime<T>;
  /**
   * Keeps only the input of each block, and runs each block again in the backward pass. This takes a third more time,
   * and memory for the activations of one block instead of all. It only works for trained tensors of the blocks.
   */
  readonly checkpointing?: boolean;
}

/** The loss of a whole model, compared with labels, a teacher, or both. */
export function modelObjective<T>(options: ModelObjectiveOptions<T>): Objective {
  const { ops, model, frozen, shapes, windows, loss, teacher, wrap = (runtime) => runtime } = options;
  const { length } = windows;
  const heldOut = options.heldOut ?? 0;
  const trainingWindows = windows.count - heldOut;
  if (trainingWindows < 1)
    throw new SchemeError(`${heldOut} of ${windows.count} windows are held out: nothing is left to train on`);
  if (loss.teacher > 0 && teacher) checkTeacher(model, teacher);
  if (options.checkpointing) checkBlockTensors(model, shapes);

  const runtimeWith = (trained: Readonly<Record<string, T>>, batch?: number): Runtime<T> =>
    wrap(createRuntime(ops, { get: (name) => trained[name] ?? frozen.get(name) }, { ties: model.ties }), batch);
  const upload = (values: TensorValues): Record<string, T> =>
    Object.fromEntries([...values].map(([name, data]) => [name, ops.fromF32(data, shapes.get(name) as number[])]));
  const targetsOf = (ids: Int32Array, indices: Int32Array): HeadTargets<T> => ({
    ...{ ids, length, weights: loss },
    ...(loss.teacher > 0 && teacher
      ? { teacher: (first: number, count: number) => teacher.logits(indices.subarray(first, first + count)) }
      : {}),
  });

  const whole = (trained: Record<string, T>, indices: Int32Array, batch: number): Derived<T> => {
    const ids = pick(windows, indices);
    return ops.valueAndGradients((variables) => {
      const runtime = runtimeWith(variables, batch);
      const hidden = lastHidden(model, runtime, ids, indices.length, length);
      return headLoss(ops, model, runtime, hidden, targetsOf(ids, indices));
    }, trained);
  };

  const blockByBlock = (trained: Record<string, T>, indices: Int32Array, batch: number): Derived<T> => {
    const ids = pick(windows, indices);
    const runtime = runtimeWith(trained, batch);
    const inputs: T[] = [ops.scope(() => model.embed(runtime, ids, indices.length, length))];
    for (const block of model.blocks) inputs.push(runBlock(block, runtime, inputs[inputs.length - 1]));
    const last = inputs.pop() as T;
    const head = ops.valueAndGradients(({ hidden }) => headLoss(ops, model, runtime, hidden, targetsOf(ids, indices)), {
      hidden: last,
    });
    ops.dispose(last);
    const gradients: Record<string, T> = {};
    let arriving = head.gradients.hidden;
    for (const block of [...model.blocks].reverse()) {
      const input = inputs.pop() as T;
      const own = Object.fromEntries(Object.entries(trained).filter(([name]) => belongsTo(block, name)));
      const derived = backwardThrough(ops, block, (values) => runtimeWith(values, batch), { own, input, arriving });
      for (const handle of [input, arriving]) ops.dispose(handle);
      arriving = derived.input;
      Object.assign(gradients, derived.gradients);
    }
    ops.dispose(arriving);
    return { value: head.value, gradients };
  };

  return {
    windows: trainingWindows,
    async evaluate(values, indices, batch): Promise<LossAndDerivatives> {
      const trained = upload(values);
      const { value, gradients } = (options.checkpointing ? blockByBlock : whole)(trained, indices, batch);
      const [lossValue] = await ops.data(value);
      const derivatives = new Map<string, Float32Array>();
      for (const name of values.keys()) derivatives.set(name, await ops.data(gradients[name]));
      for (const handle of [value, ...Object.values(gradients), ...Object.values(trained)]) ops.dispose(handle);
      return { loss: lossValue, derivatives };
    },
    async heldOut(values) {
      const trained = upload(values);
      let sum = 0;
      for (let window = trainingWindows; window < windows.count; window++) {
        const indices = Int32Array.of(window);
        const result = ops.scope(() => {
          const runtime = runtimeWith(trained);
          const ids = pick(windows, indices);
          const hidden = lastHidden(model, runtime, ids, 1, length);
          return headLoss(ops, model, runtime, hidden, targetsOf(ids, indices));
        });
        sum += (await ops.data(result))[0];
        ops.dispose(result);
      }
      for (const handle of Object.values(trained)) ops.dispose(handle);
      return sum / heldOut;
    },
    async locate(values, indices) {
      for (const [name, data] of values) if (!data.every(Number.isFinite)) return `${name} itself`;
      const trained = upload(values);
      const runtime = runtimeWith(trained);
      let hidden = ops.scope(() => model.embed(runtime, pick(windows, indices), indices.length, length));
      let found = 'the output projection';
      for (const block of model.blocks) {
        const next = runBlock(block, runtime, hidden);
        ops.dispose(hidden);
        hidden = next;
        if (!(await ops.data(hidden)).every(Number.isFinite)) {
          found = block.prefix;
          break;
        }
      }
      for (const handle of [hidden, ...Object.values(trained)]) ops.dispose(handle);
      return found;
    },
  };
}

interface Derived<T> {
  readonly value: T;
  readonly gradients: Readonly<Record<string, T>>;
}

/** What a block's backward pass reads, on the engine. */
interface BlockHandles<T> {
  /** Trained tensors of the block, by name. */
  readonly own: Readonly<Record<string, T>>;
  readonly input: T;
  /** Derivative of the loss by the block's output. */
  readonly arriving: T;
}

/**
 * Derivatives by a block's tensors and input from the derivatives by its output: the gradient of `sum(output *
 * arriving)`.
 */
function backwardThrough<T>(
  ops: DifferentiableOps<T>,
  block: BlockDescription,
  runtimeWith: (trained: Readonly<Record<string, T>>) => Runtime<T>,
  { own, input, arriving }: BlockHandles<T>,
): { input: T; gradients: Record<string, T> } {
  const inputKey = 'block input';
  const { value, gradients } = ops.valueAndGradients(
    (variables) => ops.sum(ops.mul(runBlock(block, runtimeWith(variables), variables[inputKey]), arriving)),
    { ...own, [inputKey]: input },
  );
  ops.dispose(value);
  const { [inputKey]: byInput, ...rest } = gradients;
  return { input: byInput, gradients: rest };
}

/** Whether a tensor belongs to a block: its own tensors, and those that adapters add below its name. */
const belongsTo = ({ tensors, prefix }: BlockDescription, name: string): boolean =>
  tensors.includes(name) || name.startsWith(`${prefix}.`);

function checkBlockTensors(model: ModelDescription, shapes: ReadonlyMap<string, readonly number[]>): void {
  const other = [...shapes.keys()].find((name) => !model.blocks.some((block) => belongsTo(block, name)));
  if (other) throw new SchemeError(`${other} is not part of a block: activation checkpointing trains the blocks alone`);
}
