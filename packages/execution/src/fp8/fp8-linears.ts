import {
  type ActivationScheme,
  NumericError,
  type RuntimeWrapper,
  refuseFp8Input,
  roundFp8Input,
  SchemeError,
} from '@q/core';

/**
 * Runs the named linears on inputs that are rounded to FP8. The product is the runtime's own, with the values of the
 * FP8 weights. All other linears stay as they are.
 * @param activations by module name (`model.layers.0.mlp.up_proj`)
 * @throws SchemeError naming a module whose scheme cannot be run
 */
export function fp8Linears<T>(activations: ReadonlyMap<string, ActivationScheme>): RuntimeWrapper<T> {
  for (const [module, activation] of activations) {
    const refusal =
      refuseFp8Input(activation) ??
      (activation.scheme.dynamic || activation.scale !== undefined ? undefined : 'its static scale is not known');
    if (refusal) throw new SchemeError(`${module}: ${refusal}`);
  }
  return {
    linear(module, x, inner, { ops }) {
      const activation = activations.get(module);
      if (!activation) return inner(module, x);
      const shape = ops.shape(x);
      const rounded = ops.fromF32(roundedInput(module, ops.dataSync(x), shape.at(-1) as number, activation), shape);
      try {
        return inner(module, rounded);
      } finally {
        ops.dispose(rounded);
      }
    },
  };
}

function roundedInput(module: string, x: Float32Array, width: number, activation: ActivationScheme): Float32Array {
  try {
    return roundFp8Input(x, width, activation);
  } catch (error) {
    throw error instanceof NumericError ? new NumericError(`${module}: ${error.message}`) : error;
  }
}
