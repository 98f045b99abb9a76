import type { ModelDescription } from '@q/core';
import type { Backend } from './engine.js';

/**
 * Hidden size from which `auto` prefers the native engine, where it is installed. Below, starting it and its overhead an operation
 * cost more than its wider vectors save: whole GPTQ and SignRound runs at 192 to 256 take longer with it, one of GPTQ at 1024 less long
 * (`pnpm bench peers`, `pnpm bench searches`, `pnpm bench llama`).
 */
const nativePaysFrom = 512;

/** Whether forward passes of a model run on the kernels' own engine rather than on tfjs. */
export function ownForwardPays(
  backend: Backend,
  { hiddenSize }: Pick<ModelDescription, 'hiddenSize'>,
  nativePresent: boolean,
): boolean {
  return backend === 'wasm' || (backend === 'auto' && (hiddenSize < nativePaysFrom || !nativePresent));
}

/**
 * The same of a training. The products of a vocabulary are wide enough for the native engine at any hidden size
 * (`pnpm bench training`); what trains blocks alone has none.
 */
export function ownTrainingPays(
  backend: Backend,
  model: Pick<ModelDescription, 'hiddenSize'>,
  nativePresent: boolean,
  blockByBlock: boolean,
): boolean {
  return ownForwardPays(backend, model, nativePresent) && (blockByBlock || backend === 'wasm' || !nativePresent);
}
