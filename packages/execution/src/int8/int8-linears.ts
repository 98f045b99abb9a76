import {
  type ActivationScheme,
  type Int8Input,
  type Int8Weight,
  type Kernels,
  NumericError,
  quantizeInt8Input,
  type Runtime,
  type RuntimeWrapper,
  refuseInt8Input,
  SchemeError,
} from '@q/core';
import { int8Linear } from './int8-linear.js';
import { mixedProduct } from './mixed-product.js';

/** A linear that runs on integers: LLM.int8() when its activation has an outlier threshold, else W8A8. */
export interface Int8Module {
  readonly weight: Int8Weight;
  readonly activation: ActivationScheme;
}

export interface Int8LinearsOptions {
  /**
   * Called after each product of LLM.int8() with the module, the number of its input columns, and the columns that were
   * multiplied in floating point.
   */
  readonly onOutliers?: (module: string, columns: number, outliers: Int32Array) => void;
}

/**
 * Runs the named linears as `int8 x int8 -> int32` products. Their input is rounded to the activation scheme's grid,
 * multiplied exactly, and rescaled in floating point; then the bias of the runtime is added. A module with an outlier
 * threshold multiplies its outlier columns in floating point ({@link mixedProduct}). All other linears stay as they are.
 *
 * The values are copied out of the engine for this product. The engine computes everything else as before.
 * @param modules by module name (`model.layers.0.self_attn.q_proj`)
 * @throws SchemeError when the kernels have no synchronous products, or naming a module whose scheme integers cannot
 *   run
 */
export function int8Linears<T>(
  modules: ReadonlyMap<string, Int8Module>,
  { sync, name: kernels }: Pick<Kernels, 'sync' | 'name'>,
  { onOutliers }: Int8LinearsOptions = {},
): RuntimeWrapper<T> {
  if (!sync) throw new SchemeError(`the ${kernels} kernels have no synchronous products: integer linears need them`);
  for (const [module, { activation }] of modules) {
    const refusal =
      refuseInt8Input(activation) ??
      (activation.scheme.dynamic || activation.scale !== undefined ? undefined : 'its static scale is not known');
    if (refusal) throw new SchemeError(`${module}: ${refusal}`);
  }
  // Linears that share an input (q, k, v) run one after the other: their input is rounded once.
  let last: { readonly x: T; readonly activation: ActivationScheme; readonly input: Int8Input } | undefined;
  const quantized = (x: T, width: number, activation: ActivationScheme, { ops }: Runtime<T>): Int8Input => {
    if (last && last.x === x && sameGrid(last.activation, activation)) return last.input;
    const input = quantizeInt8Input(ops.dataSync(x), width, activation);
    last = { x, activation, input };
    return input;
  };
  const product = (module: string, x: T, { weight, activation }: Int8Module, runtime: Runtime<T>): Float32Array => {
    const { ops } = runtime;
    const bias = runtime.has(`${module}.bias`) ? ops.dataSync(runtime.weight(`${module}.bias`)) : undefined;
    const { outlierThreshold } = activation;
    if (outlierThreshold === undefined)
      return int8Linear(quantized(x, ops.shape(x).at(-1)!, activation, runtime), weight, bias, sync);
    const { y, outliers } = mixedProduct(ops.dataSync(x), weight, bias, outlierThreshold, sync);
    onOutliers?.(module, weight.inFeatures, outliers);
    return y;
  };
  return {
    linear(module, x, inner, runtime) {
      const found = modules.get(module);
      if (!found) return inner(module, x);
      const { ops } = runtime;
      try {
        const y = product(module, x, found, runtime);
        return ops.fromF32(y, [...ops.shape(x).slice(0, -1), found.weight.outFeatures]);
      } catch (error) {
        throw error instanceof NumericError ? new NumericError(`${module}: ${error.message}`) : error;
      }
    },
  };
}

function sameGrid(a: ActivationScheme, b: ActivationScheme): boolean {
  return (
    a.scale === b.scale &&
    a.scheme.dynamic === b.scheme.dynamic &&
    a.scheme.granularity.kind === b.scheme.granularity.kind
  );
}
