import { type Checkpoint, takeRows } from '@q/checkpoint';
import { createRandom, type Kernels, type ModelDescription, SchemeError, type WeightSource } from '@q/core';
import { describeModel } from '@q/models';
import { type Recipe, rewritesOf } from '../recipe/recipe.js';

/** A checkpoint after the recipe's rewrites. Values are computed when they are read. */
export interface ModelSource extends WeightSource {
  readonly model?: ModelDescription;
  /** As `rows` of a checkpoint. A table that rewrites change is read whole. */
  readonly rows: Checkpoint['rows'];
  /** Tensors that rewrites change or add: their shapes (linears `[out, in]`) and the names of the rewrites. */
  readonly rewritten: ReadonlyMap<string, { readonly shape: readonly number[]; readonly by: readonly string[] }>;
  /** Keys of config.json that change. */
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Applies the rewrites one after the other.
 * @throws SchemeError naming the rewrite and the reason why it cannot be applied
 */
export function rewriteModel(checkpoint: Checkpoint, recipe: Recipe, kernels: Kernels): ModelSource {
  let { model } = checkpoint;
  let weight: WeightSource['weight'] = (name, into) => checkpoint.weight(name, into);
  let config: Readonly<Record<string, unknown>> = checkpoint.configChanges;
  const rewritten = new Map<string, { shape: readonly number[]; by: readonly string[] }>();
  for (const rewrite of rewritesOf(recipe)) {
    if (!model) throw checkpoint.unknownArchitecture as Error;
    const refusal = rewrite.refuse?.(model);
    if (refusal) throw new SchemeError(`${rewrite.name}: ${refusal}`);
    // This generator is not the context's, because the plan and the run must see the same model.
    const random = createRandom(recipe.seed).fork(`rewrite ${rewrite.name}`);
    const inner = weight;
    const result = rewrite.apply(model, { weight: inner }, { random, kernels });
    for (const [name, shape] of result.changed)
      rewritten.set(name, { shape, by: [...(rewritten.get(name)?.by ?? []), rewrite.name] });
    weight = (name, into) => (result.changed.has(name) ? result.weight(name, into) : inner(name, into));
    config = { ...config, ...result.config };
    const names = new Set([...checkpoint.tensors.keys(), ...rewritten.keys()]);
    model = describeModel({ ...checkpoint.config, ...config }, checkpoint.architectures, names);
  }
  const rows: Checkpoint['rows'] = async (name, some) =>
    rewritten.has(name) ? takeRows(await weight(name), some) : checkpoint.rows(name, some);
  return { ...(model ? { model } : {}), weight, rows, rewritten, config };
}
