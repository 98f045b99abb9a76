import { type Int8Weight, type Kernels, NumericError, type RuntimeWrapper, SchemeError } from '@q/core';
import { mixedProduct } from './mixed-product.js';

/** A linear that runs as LLM.int8(). */
export interface MixedModule {
  readonly weight: Int8Weight;
  /** Columns with a magnitude of at least this are multiplied in floating point; 0: none. */
  readonly threshold: number;
}

export interface MixedLinearsOptions {
  /**
   * Called after each product with the module, its features, and the number of columns that were multiplied in floating
   * point.
   */
  readonly onProduct?: (module: string, columns: number, outliers: Int32Array) => void;
}

/**
 * Runs the named linears as LLM.int8(). Outlier columns are found in every input, so no calibration is needed. All
 * other linears stay as they are.
 * @param modules by module name
 * @throws SchemeError when the kernels have no synchronous products, or a threshold is negative
 */
export function mixedLinears<T>(
  modules: ReadonlyMap<string, MixedModule>,
  { sync, name: kernels }: Pick<Kernels, 'sync' | 'name'>,
  options: MixedLinearsOptions = {},
): RuntimeWrapper<T> {
  if (!sync) throw new SchemeError(`the ${kernels} kernels have no synchronous products: integer linears need them`);
  for (const [module, { threshold }] of modules) checkThreshold(threshold, module);
  return {
    linear(module, x, inner, runtime) {
      const found = modules.get(module);
      if (!found) return inner(module, x);
      const { ops } = runtime;
      const bias = runtime.has(`${module}.bias`) ? ops.dataSync(runtime.weight(`${module}.bias`)) : undefined;
      try {
        const { y, outliers } = mixedProduct(ops.dataSync(x), found.weight, bias, found.threshold, sync);
        options.onProduct?.(module, found.weight.inFeatures, outliers);
        return ops.fromF32(y, [...ops.shape(x).slice(0, -1), found.weight.outFeatures]);
      } catch (error) {
        throw error instanceof NumericError ? new NumericError(`${module}: ${error.message}`) : error;
      }
    },
  };
}

/** @throws SchemeError unless 0 (no outliers) or a positive number */
export function checkThreshold(threshold: number, what: string): void {
  if (!(threshold >= 0 && Number.isFinite(threshold)))
    throw new SchemeError(
      `${what}: an outlier threshold of ${threshold} is not 0 or a positive number; the paper's is 6`,
    );
}
