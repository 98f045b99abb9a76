import type { Checkpoint } from '@q/checkpoint';
import { type LinearDescription, outputLinearsOf } from '@q/core';
import { type GuessedMatrices, guessLinears } from '@q/models';
import type { ModelSource } from './model-source.js';

/**
 * Linears of the blocks. For an unknown architecture, the linears that the names of its tensors suggest, and the reasons
 * for which its other matrices are kept.
 */
export function findLinears(checkpoint: Checkpoint, source: ModelSource, notes: string[]): GuessedMatrices {
  const { model } = source;
  if (model) {
    const linears = [
      ...model.blocks.flatMap((block) => block.linears),
      ...untiedHead(checkpoint, source),
      ...outputLinearsOf(model),
    ];
    return { linears, kept: new Map() };
  }
  notes.push(
    `${(checkpoint.unknownArchitecture as Error).message}. Every matrix named *.weight that is not an embedding, a table of positions, a norm, a router or a head by its name is taken as a linear [out, in].`,
  );
  return guessLinears(checkpoint.tensors);
}

/** The output projection if it has its own tensor. It is kept unless a rule names it. */
function untiedHead({ tensors }: Checkpoint, { model, rewritten }: ModelSource): readonly LinearDescription[] {
  if (!model?.head) return [];
  const name = `${model.head.module}.weight`;
  return (tensors.has(name) || rewritten.has(name)) && !model.embeddingTensors.includes(name) ? [model.head] : [];
}
