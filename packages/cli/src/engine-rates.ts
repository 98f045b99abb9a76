import type { ModelDescription } from '@q/core';
import { type EngineRates, kernelEngine } from '@q/pipeline';
import { nativeAbsence } from '@q/tfjs';
import type { EngineName } from './engine.js';
import { nativeEngines, ownForwardPays } from './own-engine-pays.js';

/**
 * libtensorflow with its buffers. GPTQ of two blocks of SmolLM2-135M takes 399 MB on the kernels' own engine and 794 MB
 * on the native one; all 30 blocks take 905 MB on the native one. Products of this run: 135 s for 15.2 TFLOP. Training:
 * 16 s for a step of 0.81 TFLOP, on cores with other work.
 */
const nativeEngine: EngineRates = { bytes: 420e6, products: 110e9, training: 40e9 };

/** Memory and speed of the engine of `--engine` for a model, without starting it. */
export function engineRates(requested: string | undefined, model: Pick<ModelDescription, 'hiddenSize'>): EngineRates {
  const name = (requested ?? 'auto') as EngineName;
  const nativePresent = (name === 'auto' || nativeEngines.includes(name)) && nativeAbsence() === undefined;
  return nativePresent && !ownForwardPays(name, model, nativePresent) ? nativeEngine : kernelEngine;
}
