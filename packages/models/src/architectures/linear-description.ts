import type { LinearDescription, LinearRole } from '@q/core';

/** A linear that the file stores `[out, in]`. */
export function linear(
  module: string,
  inFeatures: number,
  outFeatures: number,
  bias: boolean,
  ...roles: readonly LinearRole[]
): LinearDescription {
  return { module, roles, inFeatures, outFeatures, transposed: false, bias };
}

/** Tensors of a linear with their shapes in the file. */
export function linearTensors(description: LinearDescription): [string, readonly number[]][] {
  const { module, inFeatures, outFeatures, transposed, bias } = description;
  const weight = transposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
  return [[`${module}.weight`, weight], ...(bias ? [[`${module}.bias`, [outFeatures]] as [string, number[]]] : [])];
}

/** Tensors of norms of one width. */
export function normTensors(modules: readonly string[], width: number, bias: boolean): [string, readonly number[]][] {
  return modules.flatMap((module) => {
    const names = bias ? [`${module}.weight`, `${module}.bias`] : [`${module}.weight`];
    return names.map((name): [string, readonly number[]] => [name, [width]]);
  });
}
