import { type Checkpoint, openCheckpoint, valuesOf } from '@q/checkpoint';
import type { Vocabulary } from '@q/pipeline';
import { readersOf } from './registry.js';

/** Opens a model folder, or a GGUF file, with every layout and architecture of the vocabulary. */
export function openModel(path: string, vocabulary: Vocabulary): Promise<Checkpoint> {
  return openCheckpoint(path, readersOf(vocabulary), vocabulary.architectures);
}

/** The same for quantization: quantized linears are given as their values. */
export const openValues = async (path: string, vocabulary: Vocabulary): Promise<Checkpoint> =>
  valuesOf(await openModel(path, vocabulary));
