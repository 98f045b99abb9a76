import { ShapeError } from '@q/core';
import type { Elementwise } from '../forward/elementwise.js';
import type { Value, Values } from '../forward/values.js';

/** Derivatives by each input, which are computed when they are called. Each result is a separate value. */
type Derivatives = readonly (() => Value)[];
/**
 * Computes derivatives by the inputs of an operation.
 * @param arriving derivatives by each output
 * @param saved the values that the operation keeps, in its order
 */
type Backward = (arriving: readonly Value[], saved: readonly Value[]) => Derivatives;

interface Operation {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly saved: readonly Value[];
  readonly backward: Backward;
}

interface Recording {
  readonly operations: Operation[];
  /** Variables, and every value that was computed from them. */
  readonly dependent: Set<Value>;
}

/** Records operations while a function is differentiated, and reads them backwards. */
export interface Tape {
  /**
   * Records that `outputs` were computed from `inputs`. Saved values stay in memory until the backward pass has used
   * them.
   */
  record(inputs: readonly Value[], outputs: readonly Value[], saved: readonly Value[], backward: Backward): void;
  /** Whether one of these values depends on a variable. */
  tracks(...inputs: readonly (Value | undefined)[]): boolean;
  valueAndGradients(
    f: (variables: Readonly<Record<string, Value>>) => Value,
    variables: Readonly<Record<string, Value>>,
  ): { value: Value; gradients: Record<string, Value> };
}

export function createTape(values: Values, elementwise: Elementwise): Tape {
  let recording: Recording | undefined;

  /** A second owner of a value's memory, which no scope frees. */
  const hold = (value: Value): Value => {
    const held = values.alias(value, value.shape);
    values.keep(held);
    return held;
  };
  const filled = (shape: readonly number[], x: number): Value => {
    const value = values.make(shape);
    values.read(value).fill(x);
    return value;
  };
  const release = ({ saved }: Operation) => {
    for (const each of saved) values.dispose(each);
  };

  /** Derivatives of `value` by the variables, which are the values that no operation computed. */
  const reverse = ({ operations, dependent }: Recording, value: Value): Map<Value, Value> => {
    const arriving = new Map([[value, filled(value.shape, 1)]]);
    for (let operation = operations.pop(); operation; operation = operations.pop()) {
      const { inputs, outputs, saved, backward } = operation;
      try {
        const given = outputs.map((output) => arriving.get(output));
        if (given.every((each) => each === undefined)) continue;
        const derivatives = values.scope(() => {
          const found = backward(
            given.map((each, i) => each ?? filled(outputs[i].shape, 0)),
            saved,
          );
          return inputs.map((input, i) => (dependent.has(input) ? found[i]() : undefined));
        });
        for (const output of outputs) {
          const used = arriving.get(output);
          if (used) values.dispose(used);
          arriving.delete(output);
        }
        inputs.forEach((input, i) => {
          const derivative = derivatives[i];
          if (!derivative) return;
          const before = arriving.get(input);
          if (!before) {
            arriving.set(input, derivative);
            return;
          }
          // The sum is computed in place, unless the same memory is a derivative of another input too.
          const alone = before.buffer.owners === 1;
          const sum = elementwise.combine('add', before, derivative, alone ? before : undefined);
          values.dispose(derivative);
          if (!alone) values.dispose(before);
          arriving.set(input, sum);
        });
      } finally {
        release(operation);
      }
    }
    return arriving;
  };

  return {
    tracks: (...inputs) => inputs.some((input) => input !== undefined && recording?.dependent.has(input)),
    record(inputs, outputs, saved, backward) {
      if (!recording || !inputs.some((input) => recording?.dependent.has(input))) return;
      for (const output of outputs) recording.dependent.add(output);
      recording.operations.push({ inputs, outputs, saved: saved.map(hold), backward });
    },
    valueAndGradients(f, variables) {
      const outer = recording;
      const own: Recording = { operations: [], dependent: new Set(Object.values(variables)) };
      recording = own;
      const names = Object.keys(variables);
      try {
        const [value, ...gradients] = values.scope(() => {
          const value = values.scope(() => f(variables));
          recording = outer;
          if (value.count !== 1)
            throw new ShapeError(`valueAndGradients needs a scalar, the function gave [${value.shape}]`);
          const derivatives = reverse(own, value);
          const found = names.map((name) => {
            const variable = variables[name];
            // A variable that the function does not use has no derivative on the tape. Its derivative is zero.
            return derivatives.get(variable) ?? filled(variable.shape, 0);
          });
          return [value, ...found];
        });
        return { value, gradients: Object.fromEntries(names.map((name, i) => [name, gradients[i]])) };
      } finally {
        recording = outer;
        for (const operation of own.operations) release(operation);
      }
    },
  };
}
