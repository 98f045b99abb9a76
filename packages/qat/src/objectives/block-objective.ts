import type { BlockDescription, DifferentiableOps, ModelDescription } from '@q/core';
import { createRuntime, runBlock } from '@q/models';
import type { LossAndDerivatives, Objective, TensorValues } from './objective.js';

/** Hidden states of windows on the host; a `BlockWalk` is one. */
interface WindowStates {
  /** The states of some windows, by the windows' numbers: `[windows, length, hidden]`. */
  gather(windows: Int32Array): Float32Array;
}

export interface BlockObjectiveOptions<T> {
  readonly ops: DifferentiableOps<T>;
  readonly model: ModelDescription;
  readonly block: BlockDescription;
  /** The block's tensors that are not trained, on the engine. */
  readonly frozen: ReadonlyMap<string, T>;
  /** Shapes of the trained tensors. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Hidden states at the block's input. */
  readonly inputs: WindowStates;
  /** Hidden states that the block's output has to approximate. */
  readonly targets: WindowStates;
  /** Number of windows to train on, and of tokens in each. */
  readonly count: number;
  readonly length: number;
}

/** Mean squared difference between a block's output and the unquantized model's states after the same block. */
export function blockObjective<T>(options: BlockObjectiveOptions<T>): Objective {
  const { ops, model, block, frozen, shapes, inputs, targets, count, length } = options;
  const row = length * model.hiddenSize;
  const gather = (states: WindowStates, windows: Int32Array): T =>
    ops.fromF32(states.gather(windows), [windows.length, length, model.hiddenSize]);
  return {
    windows: count,
    async evaluate(values: TensorValues, windows): Promise<LossAndDerivatives> {
      const [x, target] = [gather(inputs, windows), gather(targets, windows)];
      const trained = Object.fromEntries(
        [...values].map(([name, data]) => [name, ops.fromF32(data, shapes.get(name) as number[])]),
      );
      const { value, gradients } = ops.valueAndGradients((variables) => {
        const runtime = createRuntime(
          ops,
          { get: (name) => variables[name] ?? frozen.get(name) },
          { ties: model.ties },
        );
        const difference = ops.sub(runBlock(block, runtime, x), target);
        return ops.scale(ops.sum(ops.mul(difference, difference)), 1 / (windows.length * row));
      }, trained);
      const loss = (await ops.data(value))[0];
      const derivatives = new Map<string, Float32Array>();
      for (const name of values.keys()) derivatives.set(name, await ops.data(gradients[name]));
      for (const handle of [x, target, value, ...Object.values(gradients), ...Object.values(trained)])
        ops.dispose(handle);
      return { loss, derivatives };
    },
    async locate() {
      return block.prefix;
    },
  };
}
