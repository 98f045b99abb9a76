import {
  type ForwardEngine,
  type HalfMatrix,
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
  /** A matrix that is stored in 16 bits, `[out, in]`; undefined for all others. */
  halves?(name: string): HalfMatrix | undefined;
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
 * Loads a model once, for all passes. Quantized linears stay packed if the engine multiplies by packed codes of their
 * scheme. Linears and the table of tokens stay in 16 bits if the engine takes them so. All other tensors become f32.
 * @param ops operations that the forward pass calls instead of the engine's own: these, wrapped
 */
export async function loadModel<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  source: WeightSource,
  ops = engine.ops,
): Promise<LoadedModel<T>> {
  const quantized = new Set(source.quantizedModules);
  // The first table is that of tokens. Look-ups and a tied head read it, and both take packed rows and rows of 16 bits.
  const tokens = model.embeddingTensors[0]?.replace(/\.weight$/, '');
  const linears = new Set([...linearsOf(model).map(({ module }) => module), tokens]);
  const [packed, decoded]: [string[], string[]] = [[], []];
  const weights = new Map<string, T>();
  const names = [...model.embeddingTensors, ...model.blocks.flatMap(({ tensors }) => tensors), ...model.headTensors];
  const dispose = () => {
    for (const handle of weights.values()) ops.dispose(handle);
  };
  /** The weight of a module that only linears and look-ups read, packed; undefined if it cannot be packed. */
  const packedWeight = async (name: string): Promise<T | undefined> => {
    const module = name.replace(/\.weight$/, '');
    if (!name.endsWith('.weight') || !quantized.has(module)) return undefined;
    const parts =
      engine.packedWeight && linears.has(module) ? packedParts((await source.quantized(module))!) : undefined;
    (parts ? packed : decoded).push(module);
    return parts && ops.keep(engine.packedWeight!(parts));
  };
  /** The same weight in 16 bits; undefined if the source does not store it so. */
  const halfWeight = async (name: string): Promise<T | undefined> => {
    const suits = name.endsWith('.weight') && linears.has(name.replace(/\.weight$/, ''));
    const matrix = suits && engine.halfWeight ? source.halves?.(name) : undefined;
    return matrix && ops.keep(await engine.halfWeight!(matrix));
  };
  try {
    for (const name of new Set(names)) {
      const tied = model.ties.get(name);
      if (tied !== undefined && names.includes(tied)) continue;
      const stored = (await packedWeight(name)) ?? (await halfWeight(name));
      weights.set(name, stored ?? ops.keep(ops.fromTensor(await source.weight(name))));
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { model, runtime: createRuntime(ops, weights, { ties: model.ties }), packed, decoded, dispose };
}
