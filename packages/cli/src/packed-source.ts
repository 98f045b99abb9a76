import type { Checkpoint } from '@q/checkpoint';
import type { WeightSource } from '@q/execution';

/** The source of a model that runs on packed codes: a GGUF file gives its own codes. */
export function packedSource(checkpoint: Checkpoint): WeightSource {
  const { coded } = checkpoint;
  return coded ? { ...checkpoint, quantizedModules: coded.modules, quantized: coded.codes } : checkpoint;
}
