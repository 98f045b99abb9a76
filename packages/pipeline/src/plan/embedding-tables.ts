import type { Checkpoint } from '@q/checkpoint';
import type { LinearDescription, LinearRole, ModelDescription } from '@q/core';
import type { ModelSource } from './model-source.js';

/** Roles of tables. Rules have to name these roles, because rows of tables are looked up and not multiplied. */
const tableRoles: readonly LinearRole[] = ['embedding', 'position'];

export const isTable = ({ roles = [] }: LinearDescription): boolean => roles.some((role) => tableRoles.includes(role));

/** Whether a linear is the output projection, or the table that is tied to it. Both read the final norm. */
export function isHead({ module }: LinearDescription, model: ModelDescription | undefined): boolean {
  if (!model?.head) return false;
  const weight = `${model.head.module}.weight`;
  return `${module}.weight` === (model.ties.get(weight) ?? weight);
}

/**
 * Tables of embeddings are quantized from this number of rows on. BERT's table of two segment types is not worth it.
 */
const tableRows = 32;

/**
 * Tables of embeddings, with a row for a token or a position, as matrices `[rows, hidden]`. A table that is tied to the
 * head has the head's role too, because both uses share the written tensor.
 */
export function embeddingTables({ tensors }: Checkpoint, { model }: ModelSource): readonly LinearDescription[] {
  if (!model) return [];
  const tied = model.head && model.ties.get(`${model.head.module}.weight`);
  const rolesOf = (name: string, rows: number): readonly LinearRole[] =>
    rows !== model.vocabularySize ? ['position'] : name === tied ? ['embedding', 'head'] : ['embedding'];
  return model.embeddingTensors.flatMap((name) => {
    const [rows, width, ...more] = model.expected.get(name) ?? [];
    if (rows === undefined || width === undefined || more.length > 0) return [];
    if (rows < tableRows || !name.endsWith('.weight') || !tensors.has(name)) return [];
    return [
      {
        module: name.replace(/\.weight$/, ''),
        roles: rolesOf(name, rows),
        inFeatures: width,
        outFeatures: rows,
        transposed: false,
        bias: false,
      },
    ];
  });
}
