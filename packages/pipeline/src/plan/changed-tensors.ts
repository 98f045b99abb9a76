import type { Checkpoint, RewrittenTensor } from '@q/checkpoint';
import { edgeTensors, type LinearDescription, linearsOf, type Transform } from '@q/core';
import type { ModelSource } from './model-source.js';

/** A tensor whose values change before any tensor is quantized. */
export interface ChangedTensor extends RewrittenTensor {
  /** Text for the plan: `rewritten by rotate, scaled by awq`. */
  readonly why: string;
  /** True if its final values are known only after its block has been processed. */
  readonly scaled: boolean;
}

/** The tensors that rewrites and transforms may change, by name. Nothing is computed. */
export function changedTensors(
  checkpoint: Checkpoint,
  { model, rewritten }: ModelSource,
  transforms: readonly Transform[],
): ReadonlyMap<string, ChangedTensor> {
  const changes = new Map<string, { rewrites: readonly string[]; transforms: string[] }>();
  for (const [name, { by }] of rewritten) changes.set(name, { rewrites: by, transforms: [] });
  for (const transform of transforms) {
    for (const name of model?.blocks.flatMap(({ edges }) => transform.edges(edges).flatMap(edgeTensors)) ?? []) {
      if (!checkpoint.tensors.has(name) && !rewritten.has(name)) continue;
      const change = changes.get(name) ?? { rewrites: [], transforms: [] };
      if (!change.transforms.includes(transform.name)) change.transforms.push(transform.name);
      changes.set(name, change);
    }
  }
  if (changes.size === 0) return new Map();
  const linears = new Map<string, LinearDescription>(
    model ? linearsOf(model).map((linear) => [`${linear.module}.weight`, linear]) : [],
  );
  return new Map(
    [...changes].map(([name, { rewrites, transforms }]) => {
      const linear = linears.get(name);
      const shape =
        rewritten.get(name)?.shape ??
        (linear ? [linear.outFeatures, linear.inFeatures] : (checkpoint.tensors.get(name)?.shape as readonly number[]));
      const words = [
        ...(rewrites.length > 0 ? [`rewritten by ${rewrites.join(', ')}`] : []),
        ...(transforms.length > 0 ? [`scaled by ${transforms.join(', ')}`] : []),
      ];
      return [
        name,
        { shape, transposed: linear?.transposed ?? false, why: words.join(', '), scaled: transforms.length > 0 },
      ];
    }),
  );
}
