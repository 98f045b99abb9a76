import { type ActivationScheme, describeActivation, int8Weight, type Kernels, type QuantizedTensor } from '@q/core';
import { type Int8Module, int8Linears } from '@q/int8';
import { type MixedModule, mixedLinears } from '@q/llm-int8';
import { wrapRuntime } from '@q/models';
import type { WindowRunOptions } from './run-blocks.js';

/** The parts of a quantized folder that are read; a checkpoint has them. */
export interface QuantizedFolder {
  readonly quantizedModules: readonly string[];
  quantized(module: string): Promise<QuantizedTensor | undefined>;
  /** The scheme of a module's inputs when it runs; undefined if only its weight is quantized. */
  activation(module: string): Promise<ActivationScheme | undefined>;
}

export interface IntegerExecution {
  readonly wrap: NonNullable<WindowRunOptions['wrap']>;
  /** A description for the report. */
  readonly note: string;
}

/**
 * The execution of a folder with quantized inputs: its linears run as products of 8-bit integers. The weights of a
 * block are read together with the block. Undefined for folders with quantized weights only, whose products are f32.
 */
export async function integerExecution(
  folder: QuantizedFolder,
  kernels: Kernels,
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
      const plain = new Map<string, Int8Module>();
      const mixed = new Map<string, MixedModule>();
      for (const name of tensors) {
        const module = name.replace(/\.weight$/, '');
        const activation = name.endsWith('.weight') ? activations.get(module) : undefined;
        const quantized = activation && (await folder.quantized(module));
        if (!quantized) continue;
        const weight = int8Weight(quantized);
        if (activation.outlierThreshold === undefined) plain.set(module, { weight, activation });
        else mixed.set(module, { weight, threshold: activation.outlierThreshold });
      }
      return wrapRuntime(wrapRuntime(runtime, int8Linears(plain, kernels)), mixedLinears(mixed, kernels));
    },
  };
}
