import {
  type ActivationScheme,
  type Int8Input,
  type Int8Weight,
  int8Linear,
  type Kernels,
  NumericError,
  quantizeInt8Input,
  type Runtime,
  type RuntimeWrapper,
  refuseInt8Input,
  SchemeError,
} from '@q/core';

/** A linear that runs on integers. */
export interface Int8Module {
  readonly weight: Int8Weight;
  readonly activation: ActivationScheme;
}

/**
 * Runs the named linears as `int8 x int8 -> int32` products (W8A8). Their input is rounded to the activation scheme's
 * grid, multiplied exactly, and rescaled in floating point; then the bias of the runtime is added. All other linears
 * stay as they are.
 *
 * The values are copied out of the engine for this product. The engine computes everything else as before.
 * @param modules by module name (`model.layers.0.self_attn.q_proj`)
 * @throws SchemeError when the kernels have no synchronous products, or naming a module whose scheme integers cannot
 *   run
 */
export function int8Linears<T>(
  modules: ReadonlyMap<string, Int8Module>,
  { sync, name: kernels }: Pick<Kernels, 'sync' | 'name'>,
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
  const quantized = (module: string, x: T, activation: ActivationScheme, runtime: Runtime<T>): Int8Input => {
    if (last && last.x === x && sameGrid(last.activation, activation)) return last.input;
    const shape = runtime.ops.shape(x);
    try {
      const input = quantizeInt8Input(runtime.ops.dataSync(x), shape[shape.length - 1], activation);
      last = { x, activation, input };
      return input;
    } catch (error) {
      throw error instanceof NumericError ? new NumericError(`${module}: ${error.message}`) : error;
    }
  };
  return {
    linear(module, x, inner, runtime) {
      const found = modules.get(module);
      if (!found) return inner(module, x);
      const { ops } = runtime;
      const { weight, activation } = found;
      const bias = runtime.has(`${module}.bias`) ? ops.dataSync(runtime.weight(`${module}.bias`)) : undefined;
      const y = int8Linear(quantized(module, x, activation, runtime), weight, bias, sync);
      return ops.fromF32(y, [...ops.shape(x).slice(0, -1), weight.outFeatures]);
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
