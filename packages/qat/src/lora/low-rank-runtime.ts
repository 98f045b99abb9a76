import { type DifferentiableOps, type LowRankAdapter, type Random, type Runtime, SchemeError } from '@q/core';
import { wrapRuntime } from '@q/models';

/** Names of a linear's factors in an adapter file of PEFT, below `base_model.model.`. */
export const factorNames = (module: string) =>
  ({ a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` }) as const;

export interface LowRankRuntimeOptions {
  readonly modules: ReadonlySet<string>;
  readonly alpha: number;
  readonly rank: number;
  /** Share of the inputs of `A` that are dropped; the others are multiplied by 1 / (1 - dropout). Default: 0. */
  readonly dropout?: number;
  /** Chooses the dropped inputs, together with the module's name; needed for dropout. */
  readonly random?: Random;
}

/**
 * `y = W x + (alpha / rank) B A drop(x)` for the linears of an adapter. The factors are tensors of the inner runtime,
 * by {@link factorNames}, so they can be trained like any other tensor.
 */
export function lowRankRuntime<T>(inner: Runtime<T>, options: LowRankRuntimeOptions): Runtime<T> {
  const { modules, alpha, rank, dropout = 0, random } = options;
  const ops = inner.ops as DifferentiableOps<T>;
  return wrapRuntime(inner, {
    linear(module, x, plain, runtime) {
      const y = plain(module, x);
      if (!modules.has(module)) return y;
      const { a, b } = factorNames(module);
      const seen = dropout > 0 && random ? ops.mul(x, keepMask(ops, ops.shape(x), dropout, random.fork(module))) : x;
      const low = ops.linear(seen, runtime.weight(a));
      return ops.add(y, ops.scale(ops.linear(low, runtime.weight(b)), alpha / rank));
    },
  });
}

/** A mask: 0 with the probability of dropout, in steps of 2^-16, and 1 / (1 - dropout) elsewhere. */
function keepMask<T>(ops: DifferentiableOps<T>, shape: readonly number[], dropout: number, random: Random): T {
  const size = shape.reduce((product, length) => product * length, 1);
  const limit = Math.round(dropout * 65536);
  const kept = 65536 / (65536 - limit);
  const mask = new Float32Array(size);
  for (let i = 0; i < size; i += 2) {
    const word = random.integer(2 ** 32);
    mask[i] = word % 65536 < limit ? 0 : kept;
    if (i + 1 < size) mask[i + 1] = Math.floor(word / 65536) < limit ? 0 : kept;
  }
  return ops.fromF32(mask, shape);
}

/** @throws SchemeError naming the module that the model does not have, or whose factors have another shape */
export function checkAdapter(
  adapter: LowRankAdapter,
  linears: ReadonlyMap<string, { readonly inFeatures: number; readonly outFeatures: number }>,
  name = 'the adapter',
): void {
  for (const [module, { a, b }] of adapter.modules) {
    const linear = linears.get(module);
    if (!linear)
      throw new SchemeError(
        `${name} has factors for ${module}, which the model does not have: use the adapter of this model`,
      );
    const { inFeatures, outFeatures } = linear;
    if (a.shape[1] !== inFeatures || b.shape[0] !== outFeatures || a.shape[0] !== b.shape[1])
      throw new SchemeError(
        `${name}: the factors of ${module} are [${a.shape}] and [${b.shape}], its weight is [${outFeatures}, ${inFeatures}]: use an adapter of a model of this shape`,
      );
  }
}
