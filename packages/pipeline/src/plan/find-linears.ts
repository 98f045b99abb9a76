import type { Checkpoint } from '@q/checkpoint';
import { type LinearDescription, linearsOf } from '@q/core';
import { guessLinears } from '@q/models';
import type { ModelSource } from './model-source.js';

/** Linears of the blocks. For an unknown architecture, the linears that the names of its tensors suggest. */
export function findLinears(
  checkpoint: Checkpoint,
  source: ModelSource,
  notes: string[],
): readonly LinearDescription[] {
  const { model } = source;
  if (model) {
    const { pooler, classifier } = model;
    const outputs = linearsOf({ blocks: [], ...(pooler ? { pooler } : {}), ...(classifier ? { classifier } : {}) });
    return [...model.blocks.flatMap(({ linears }) => linears), ...untiedHead(checkpoint, source), ...outputs];
  }
  notes.push(
    `${(checkpoint.unknownArchitecture as Error).message}. Every matrix named *.weight that is not an embedding, norm, router or head is taken as a linear [out, in].`,
  );
  return guessLinears(checkpoint.tensors);
}

/** The output projection if it has its own tensor. It is kept unless a rule names it. */
function untiedHead({ tensors }: Checkpoint, { model, rewritten }: ModelSource): readonly LinearDescription[] {
  if (!model?.head) return [];
  const name = `${model.head.module}.weight`;
  return (tensors.has(name) || rewritten.has(name)) && !model.embeddingTensors.includes(name) ? [model.head] : [];
}
