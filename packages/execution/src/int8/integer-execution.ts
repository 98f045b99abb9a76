import { type ActivationScheme, describeActivation, type Kernels, type QuantizedTensor, type Runtime } from '@q/core';
import { wrapRuntime } from '@q/models';
import { type Int8Module, int8Linears } from './int8-linears.js';
import { int8Weight } from './int8-weight.js';

/** The parts of a quantized folder that are read; a checkpoint has them. */
export interface QuantizedFolder {
  readonly quantizedModules: readonly string[];
  quantized(module: string): Promise<QuantizedTensor | undefined>;
  /** The scheme of a module's inputs when it runs; undefined if only its weight is quantized. */
  activation(module: string): Promise<ActivationScheme | undefined>;
}

export interface IntegerExecution {
  /**
   * A runtime whose quantized linears run on integers. Reads the weights of the named tensors, and no others, so a
   * caller can wrap the runtime of one block at a time.
   */
  readonly wrap: <T>(runtime: Runtime<T>, tensors: readonly string[]) => Promise<Runtime<T>>;
  /** A description for the report. */
  readonly note: string;
}

/**
 * Runs the linears of a folder with quantized inputs as products of 8-bit integers.
 * @returns undefined for a folder of quantized weights alone, whose products are f32
 */
export async function integerExecution(
  folder: QuantizedFolder,
  kernels: Pick<Kernels, 'sync' | 'name'>,
): Promise<IntegerExecution | undefined> {
  const activations = new Map<string, ActivationScheme>();
  for (const module of folder.quantizedModules) {
    const activation = await folder.activation(module);
    if (activation) activations.set(module, activation);
  }
  if (activations.size === 0) return undefined;
  const kinds = [...new Set([...activations.values()].map(describeActivation))];
  return {
    note: `${activations.size} linears run as int8 products on the ${kernels.name} kernels; inputs ${kinds.join('; ')}`,
    async wrap(runtime, tensors) {
      const modules = new Map<string, Int8Module>();
      for (const name of tensors) {
        const module = name.replace(/\.weight$/, '');
        const activation = name.endsWith('.weight') ? activations.get(module) : undefined;
        const quantized = activation && (await folder.quantized(module));
        if (quantized) modules.set(module, { weight: int8Weight(quantized), activation });
      }
      return wrapRuntime(runtime, int8Linears(modules, kernels));
    },
  };
}
