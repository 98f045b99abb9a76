import type { Checkpoint } from '@q/checkpoint';
import { elementCount, type ModelDescription } from '@q/core';
import type { PlannedRow } from './plan.js';

/** Finds tensors that the model of config.json does not read, such as biases that it does not mention. */
export class UnreadTensors {
  #first: string | undefined;
  #tensors = 0;
  #weights = 0;
  readonly #expected: ModelDescription['expected'] | undefined;

  constructor(checkpoint: Checkpoint, model: ModelDescription | undefined) {
    // The checkpoint has every tensor that the model expects. If the numbers of tensors are equal, there is no other
    // tensor.
    const none = model !== undefined && model === checkpoint.model && model.expected.size === checkpoint.tensors.size;
    this.#expected = none ? undefined : model?.expected;
  }

  add({ name, bytesBefore, shape }: PlannedRow): void {
    if (!this.#expected || bytesBefore === 0 || this.#expected.has(name)) return;
    this.#first ??= name;
    this.#tensors++;
    this.#weights += elementCount(shape);
  }

  /** @param all number of weights of the model */
  notes(all: number): readonly string[] {
    if (this.#first === undefined) return [];
    const others = this.#tensors > 1 ? ` and ${this.#tensors - 1} more` : '';
    const share = ((100 * this.#weights) / all).toPrecision(2);
    return [
      `${this.#first}${others}: the model that config.json describes does not read it, it is copied; ${share} % of all weights`,
    ];
  }
}
