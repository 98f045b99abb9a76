import type { Checkpoint } from '@q/checkpoint';
import type { WeightSource } from '@q/execution';

/** A source of f32 values alone: of weights that something changed after they were read. */
export const valueSource = (weight: WeightSource['weight']): WeightSource => ({
  quantizedModules: [],
  weight,
  quantized: async () => undefined,
});

/** The source of a model that runs on packed codes: a GGUF file gives its own codes. */
export function packedSource(checkpoint: Checkpoint): WeightSource {
  const { coded } = checkpoint;
  return coded ? { ...checkpoint, quantizedModules: coded.modules, quantized: coded.codes } : checkpoint;
}
