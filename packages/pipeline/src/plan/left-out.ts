import { elementCount, type ModelDescription } from '@q/core';
import type { PlannedRow } from './plan.js';

/** Says which tensors the model that config.json describes does not read, such as biases that it does not mention. */
export function leftOut(rows: readonly PlannedRow[], model: ModelDescription | undefined): readonly string[] {
  const unknown = model ? rows.filter(({ name, bytesBefore }) => bytesBefore > 0 && !model.expected.has(name)) : [];
  if (unknown.length === 0) return [];
  const weights = (some: readonly PlannedRow[]) => some.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const others = unknown.length > 1 ? ` and ${unknown.length - 1} more` : '';
  const share = ((100 * weights(unknown)) / weights(rows)).toPrecision(2);
  return [
    `${unknown[0].name}${others}: the model that config.json describes does not read it, it is copied; ${share} % of all weights`,
  ];
}
