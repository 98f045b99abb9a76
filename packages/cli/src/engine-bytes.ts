import type { ModelDescription } from '@q/core';
import { nativeAbsence } from '@q/tfjs';
import type { EngineName } from './engine.js';
import { ownForwardPays } from './own-engine-pays.js';

/**
 * Memory of libtensorflow with its buffers. GPTQ of two blocks of SmolLM2-135M takes 399 MB on the kernels' own engine
 * and 794 MB on the native one; all 30 blocks take 905 MB on the native one.
 */
const nativeBytes = 420e6;

/** Bytes that the engine of `--engine` takes for a model, in addition to its tensors, without starting it. */
export function engineBytes(requested: string | undefined, model: Pick<ModelDescription, 'hiddenSize'>): number {
  const name = (requested ?? 'auto') as EngineName;
  const nativePresent = (name === 'auto' || name === 'node') && nativeAbsence() === undefined;
  return nativePresent && !ownForwardPays(name, model, nativePresent) ? nativeBytes : 0;
}
