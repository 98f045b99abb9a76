import type { Checkpoint } from '@q/checkpoint';
import type { WeightSource } from '@q/execution';

/** Where a model is loaded from to run on packed codes: a GGUF file gives those that it holds. */
export function packedSource(checkpoint: Checkpoint): WeightSource {
  const { coded } = checkpoint;
  return coded ? { ...checkpoint, quantizedModules: coded.modules, quantized: coded.codes } : checkpoint;
}
