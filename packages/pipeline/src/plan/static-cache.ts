import type { Checkpoint, PlannedCache } from '@q/checkpoint';
import {
  bf16Scale,
  f16Scale,
  f32Scale,
  type ModelDescription,
  type ScaleStorage,
  SchemeError,
  withoutHead,
} from '@q/core';
import type { Recipe } from '../recipe/recipe.js';

/** Scales have the dtype of the attention's weights, as compressed-tensors writes them; f32 for any other dtype. */
const storages: Readonly<Record<string, ScaleStorage>> = { F16: f16Scale, BF16: bf16Scale };

/** What a person has to know of the readers of a folder with scales of a cache. */
export function cacheNotes({ config }: Checkpoint, { layout }: Recipe, { scheme }: PlannedCache): readonly string[] {
  return [
    ...(layout.cacheScales ? [layout.cacheScales.note(scheme)] : []),
    ...('num_key_value_heads' in config
      ? []
      : [
          'config.json has no num_key_value_heads: where the architecture has no such setting (OPT, GPT-J), compressed-tensors does not load a folder with scales of a cache in transformers',
        ]),
  ];
}

/**
 * The static scales of the cache that a recipe wants; undefined when it wants none.
 * @throws SchemeError when the layout, the model or the method does not go with them
 */
export function planCache(
  { model: known, tensors, unknownArchitecture }: Checkpoint,
  { kvCache, layout, tuner }: Recipe,
  model: ModelDescription | undefined = known,
): PlannedCache | undefined {
  if (!kvCache) return undefined;
  const refuse = (why: string) => new SchemeError(`static ${kvCache.format.name} scales of the cache: ${why}`);
  const { cacheScales } = layout;
  if (!cacheScales)
    throw refuse(`the ${layout.name} layout stores no scales of a cache: use one of compressed-tensors`);
  if (!model) throw unknownArchitecture as Error;
  if (!model.head) throw refuse(`${withoutHead(model)}, so nothing keeps a cache: leave the option out`);
  if (tuner)
    throw refuse(`${tuner.name} changes keys and values after they were calibrated: use a method that does not train`);
  const modules = model.blocks.map(({ attention, prefix }) => {
    const module = attention && cacheScales.module(attention);
    if (module === undefined)
      throw refuse(
        `readers of the ${layout.name} layout look for no scales in the attention of ${prefix} (${model.architecture}): leave the option out`,
      );
    for (const { name } of cacheScales.plan(module, kvCache))
      if (tensors.has(name)) throw refuse(`the model has a tensor ${name} already: start from a model without it`);
    return module;
  });
  const dtype = tensors.get(`${model.blocks[0]?.attention?.value.module}.weight`)?.dtype ?? 'F32';
  return { scheme: { ...kvCache, scaleStorage: storages[dtype] ?? f32Scale }, modules };
}
