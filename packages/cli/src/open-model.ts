import { type Checkpoint, openCheckpoint } from '@q/checkpoint';
import type { Vocabulary } from '@q/pipeline';
import { readersOf } from './registry.js';

/** Opens a model folder with every layout and architecture of the vocabulary. */
export function openModel(path: string, vocabulary: Vocabulary): Promise<Checkpoint> {
  return openCheckpoint(path, readersOf(vocabulary), vocabulary.architectures);
}
