import { type ActivationScheme, describeActivation, type Kernels, type QuantizedTensor, type Runtime } from '@q/core';
import { wrapRuntime } from '@q/models';
import { fp8Linears } from './fp8/fp8-linears.js';
import { type Int8Module, int8Linears } from './int8/int8-linears.js';
import { int8Weight } from './int8/int8-weight.js';

/** The parts of a quantized folder that are read; a checkpoint has them. */
export interface QuantizedFolder {
  readonly quantizedModules: readonly string[];
  quantized(module: string): Promise<QuantizedTensor | undefined>;
  /** The scheme of a module's inputs when it runs; undefined if only its weight is quantized. */
  activation(module: string): Promise<ActivationScheme | undefined>;
}

export interface InputExecution {
  /**
   * A runtime whose linears quantize their inputs as the folder says. Reads the weights of the named tensors that run
   * on integers, and no others, so a caller can wrap the runtime of one block at a time.
   */
  readonly wrap: <T>(runtime: Runtime<T>, tensors: readonly string[]) => Promise<Runtime<T>>;
  /** A description for the report. */
  readonly note: string;
}

/**
 * Runs the linears of a folder with quantized inputs: int8 inputs in products of 8-bit integers, FP8 inputs rounded to
 * their grid before an f32 product.
 * @returns undefined for a folder of quantized weights alone
 */
export async function inputExecution(
  folder: QuantizedFolder,
  kernels: Pick<Kernels, 'sync' | 'name'>,
): Promise<InputExecution | undefined> {
  const integers = new Map<string, ActivationScheme>();
  const floats = new Map<string, ActivationScheme>();
  for (const module of folder.quantizedModules) {
    const activation = await folder.activation(module);
    if (activation) (activation.scheme.format.family === 'float' ? floats : integers).set(module, activation);
  }
  if (integers.size + floats.size === 0) return undefined;
  return {
    note: [
      ...noteOf(integers, `run as int8 products on the ${kernels.name} kernels`),
      ...noteOf(floats, 'round their inputs to FP8'),
    ].join('; '),
    async wrap(runtime, tensors) {
      const modules = new Map<string, Int8Module>();
      for (const name of tensors) {
        const module = name.replace(/\.weight$/, '');
        const activation = name.endsWith('.weight') ? integers.get(module) : undefined;
        const quantized = activation && (await folder.quantized(module));
        if (quantized) modules.set(module, { weight: int8Weight(quantized), activation });
      }
      const rounded = floats.size > 0 ? wrapRuntime(runtime, fp8Linears(floats)) : runtime;
      return integers.size > 0 ? wrapRuntime(rounded, int8Linears(modules, kernels)) : rounded;
    },
  };
}

function noteOf(activations: ReadonlyMap<string, ActivationScheme>, how: string): string[] {
  if (activations.size === 0) return [];
  const kinds = [...new Set([...activations.values()].map(describeActivation))];
  return [`${activations.size} linears ${how}; inputs ${kinds.join('; ')}`];
}
