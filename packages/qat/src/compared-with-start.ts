import { type Context, dequantize, type QuantizedTensor, type TunerInput } from '@q/core';
import type { Objective } from './objectives/objective.js';
import type { QuantizedParameterization } from './parameters/parameterization.js';

/** Windows on which the trained model and its start are compared. */
const comparedWindows = 32;

/** Mean losses of the trained model and of its start, on the same windows. */
export async function comparedWithStart<T>(
  objective: Objective,
  tensors: ReadonlyMap<string, QuantizedParameterization>,
  { start }: Pick<TunerInput<T>, 'start'>,
  batch: number,
  { signal }: Context,
): Promise<readonly [own: number, start: number]> {
  const own = new Map([...tensors].map(([name, each]) => [name, each.value().slice()]));
  const before = new Map(
    [...tensors.keys()].map((name) => [name, dequantize(start.get(moduleOf(name)) as QuantizedTensor).data]),
  );
  const count = Math.min(comparedWindows, objective.windows);
  const sums = [0, 0];
  for (let first = 0; first < count; first += batch) {
    const windows = Int32Array.from({ length: Math.min(batch, count - first) }, (_, i) => first + i);
    for (const [which, values] of [own, before].entries()) {
      signal?.throwIfAborted();
      sums[which] += ((await objective.evaluate(values, windows, 0)).loss * windows.length) / count;
    }
  }
  return [sums[0], sums[1]];
}

/** Name of the module to which a weight's name in a checkpoint belongs. */
export function moduleOf(name: string): string {
  return name.replace(/\.weight$/, '');
}
