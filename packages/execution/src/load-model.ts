import {
  type ForwardEngine,
  linearsOf,
  type ModelDescription,
  type QuantizedTensor,
  type Runtime,
  type Tensor,
} from '@q/core';
import { createRuntime } from '@q/models';
import { packedParts } from './packed-parts.js';

/** Where weights come from; a checkpoint of `@q/checkpoint` is one. */
export interface WeightSource {
  readonly quantizedModules: readonly string[];
  /** A tensor as f32, linears `[out, in]`. */
  weight(name: string): Promise<Tensor<'f32'>>;
  quantized(module: string): Promise<QuantizedTensor | undefined>;
}

/** A model whose weights are on an engine. */
export interface LoadedModel<T> {
  readonly model: ModelDescription;
  readonly runtime: Runtime<T>;
  /** Modules whose codes stay packed, and quantized ones that are decoded to f32. */
  readonly packed: readonly string[];
  readonly decoded: readonly string[];
  /** Frees the weights. */
  dispose(): void;
}

/**
 * Loads a model once and for all passes. Quantized linears stay packed where the engine multiplies by packed codes and the
 * scheme suits it; everything else is f32.
 * @param ops what the forward pass calls instead of the engine's operations, when something wraps them
 */
export async function loadModel<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  source: WeightSource,
  ops = engine.ops,
): Promise<LoadedModel<T>> {
  const quantized = new Set(source.quantizedModules);
  // The first table is that of tokens, which look-ups and a tied head read, and both take packed rows.
  const tokens = model.embeddingTensors[0]?.replace(/\.weight$/, '');
  const linears = new Set([...linearsOf(model).map(({ module }) => module), tokens]);
  const [packed, decoded]: [string[], string[]] = [[], []];
  const weights = new Map<string, T>();
  const names = [...model.embeddingTensors, ...model.blocks.flatMap(({ tensors }) => tensors), ...model.headTensors];
  const dispose = () => {
    for (const handle of weights.values()) ops.dispose(handle);
  };
  /** The weight of a module that only linears and look-ups use, packed; nothing where that is not possible. */
  const packedWeight = async (name: string): Promise<T | undefined> => {
    const module = name.replace(/\.weight$/, '');
    if (!name.endsWith('.weight') || !quantized.has(module)) return undefined;
    const parts =
      engine.packedWeight && linears.has(module) ? packedParts((await source.quantized(module))!) : undefined;
    (parts ? packed : decoded).push(module);
    return parts && ops.keep(engine.packedWeight!(parts));
  };
  try {
    for (const name of new Set(names)) {
      const tied = model.ties.get(name);
      if (tied !== undefined && names.includes(tied)) continue;
      weights.set(name, (await packedWeight(name)) ?? ops.keep(ops.fromTensor(await source.weight(name))));
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { model, runtime: createRuntime(ops, weights, { ties: model.ties }), packed, decoded, dispose };
}
