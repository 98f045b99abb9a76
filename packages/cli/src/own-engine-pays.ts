import type { ModelDescription } from '@q/core';
import type { EngineName } from './engine.js';

/**
 * Hidden size from which `auto` prefers an installed native engine. Below it, its start and its overhead for each
 * operation cost more than its wider vectors save: whole GPTQ and SignRound runs at 192 to 256 take longer with it, one
 * of GPTQ at 1024 less long (`pnpm bench peers`, `pnpm bench searches`, `pnpm bench llama`).
 */
const nativePaysFrom = 512;

/** The engines that compute with the native libraries of TensorFlow, and on request only. */
export const nativeEngines: readonly EngineName[] = ['node', 'node-bf16'];

/** Whether forward passes of a model run on the kernels' own engine instead of on tfjs. */
export function ownForwardPays(
  requested: EngineName,
  { hiddenSize }: Pick<ModelDescription, 'hiddenSize'>,
  nativePresent: boolean,
): boolean {
  return requested === 'wasm' || (requested === 'auto' && (hiddenSize < nativePaysFrom || !nativePresent));
}

/**
 * The same for a training. The products of a vocabulary are wide enough for the native engine at any hidden size
 * (`pnpm bench training`); a training of single blocks has none.
 */
export function ownTrainingPays(
  requested: EngineName,
  model: Pick<ModelDescription, 'hiddenSize'>,
  nativePresent: boolean,
  blockByBlock: boolean,
): boolean {
  return ownForwardPays(requested, model, nativePresent) && (blockByBlock || requested === 'wasm' || !nativePresent);
}
