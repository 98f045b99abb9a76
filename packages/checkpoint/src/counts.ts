import { FormatError } from '@q/core';
import type { TensorEntry } from '@q/safetensors';

const layerCount = /^(n|num)_.*layers?$|^n_layer$|^num_blocks$/;
const expertCount = /^(n|num)_.*experts$/;
/** Up to this number of experts of all layers a description needs little memory, so the file is not checked. */
const harmless = 100_000;

/**
 * Compares the counts of a config with the existing tensors, before a description with that many entries is built.
 * Every layer has a tensor of its own. Every expert has one, or a part of a tensor with all experts of a layer.
 * @throws FormatError naming the file and the key
 */
export function checkCounts(
  config: Readonly<Record<string, unknown>>,
  tensors: ReadonlyMap<string, TensorEntry>,
  where: string,
): void {
  let parts = tensors.size;
  for (const { shape } of tensors.values()) if (shape.length === 3) parts += shape[0];
  let layers = 1;
  let experts = 1;
  for (const [key, value] of Object.entries(config)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      checkCounts(value as Record<string, unknown>, tensors, `${where}: ${key}`);
    if (typeof value !== 'number' || !(layerCount.test(key) || expertCount.test(key))) continue;
    if (value > parts)
      throw new FormatError(
        `${where}: "${key}" is ${value}, but the files hold ${tensors.size} tensors: the config is not that of these weights`,
      );
    if (layerCount.test(key)) layers = Math.max(layers, value);
    else experts = Math.max(experts, value);
  }
  if (layers * experts > Math.max(harmless, 64 * parts))
    throw new FormatError(
      `${where}: ${layers} layers of ${experts} experts are more than the ${tensors.size} tensors of the files can hold`,
    );
}
