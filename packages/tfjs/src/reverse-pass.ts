import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** The record of an operation that tfjs makes while it differentiates (tape.ts of tfjs-core). */
interface TapeNode {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly Tensor[];
  /** Absent for kernels without a gradient. */
  readonly gradient?: (arriving: (Tensor | undefined)[]) => Record<string, () => Tensor>;
  readonly saved?: readonly Tensor[];
}

/** The parts of tfjs's engine that its own `gradients` calls. */
interface TapeEngine {
  readonly state: { activeTape: TapeNode[] | null };
  startTape(): void;
  endTape(): void;
  tidy<R>(f: () => R): R;
}

/**
 * The value of `f` and its derivatives by `variables`, from tfjs's tape. `tf.engine().gradients` keeps every saved
 * value of the tape and every derivative of an intermediate value until the end. This function disposes of each after
 * its use, so a step of a transformer takes a third less memory.
 */
export function reversePass(
  tf: Tfjs,
  f: () => Tensor,
  variables: readonly Tensor[],
): { value: Tensor; derivatives: (Tensor | undefined)[] } {
  const engine = tf.engine() as unknown as TapeEngine;
  engine.startTape();
  let value: Tensor;
  try {
    value = engine.tidy(f);
  } finally {
    engine.endTape();
  }
  const tape = engine.state.activeTape ?? [];
  engine.state.activeTape = null;
  const dependent = new Set(variables.map(({ id }) => id));
  for (const { inputs, outputs } of tape)
    if (Object.values(inputs).some(({ id }) => dependent.has(id))) for (const { id } of outputs) dependent.add(id);

  const arriving = new Map<number, Tensor>([[value.id, tf.onesLike(value)]]);
  const isVariable = new Set(variables.map(({ id }) => id));
  try {
    for (let node = tape.pop(); node; node = tape.pop()) {
      const { inputs, outputs, gradient, saved } = node;
      if (outputs.some(({ id }) => arriving.has(id) && !isVariable.has(id))) {
        const wanted = Object.entries(inputs).filter(([, { id }]) => dependent.has(id));
        const given = outputs.map(({ id }) => arriving.get(id));
        if (wanted.length > 0 && !gradient) throw new Error('tfjs has no gradient for an operation of the loss');
        const found = engine.tidy(() => {
          if (wanted.length === 0) return [];
          const derivatives = gradient!(given);
          // A derivative may be the arriving tensor itself, or one tensor may serve two inputs. A clone for each input
          // can be disposed of by itself.
          return wanted.map(([name]) => tf.clone(derivatives[name]!()));
        });
        for (const { id } of outputs) {
          arriving.get(id)?.dispose();
          arriving.delete(id);
        }
        wanted.forEach(([, { id }], i) => {
          const before = arriving.get(id);
          const derivative = found[i]!;
          arriving.set(id, before ? tf.add(before, derivative) : derivative);
          if (before) for (const x of [before, derivative]) x.dispose();
        });
      }
      for (const x of saved ?? []) x.dispose();
    }
  } finally {
    for (const { saved } of tape) for (const x of saved ?? []) x.dispose();
  }
  return { value, derivatives: variables.map(({ id }) => arriving.get(id)) };
}
