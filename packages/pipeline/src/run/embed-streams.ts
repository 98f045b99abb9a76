import { type BlockWalk, windowTokens } from '@q/blockwise';
import { takeRows } from '@q/checkpoint';
import type { BlockWeights, Context, ModelDescription, Tensor } from '@q/core';
import type { ModelSource } from '../plan/model-source.js';

/** The windows before the first block, in the quantized model and in the unquantized one. */
export interface EmbeddedStreams<T> {
  readonly source: Pick<ModelSource, 'weight' | 'rows'>;
  readonly model: ModelDescription;
  readonly walk: BlockWalk<T>;
  readonly original: BlockWalk<T> | undefined;
  /** Share of the batches that go through the unquantized model. */
  readonly pairedTokens: number;
  /** Quantized tables of embeddings. The walk reads them instead of the source's tables. It is cleared. */
  readonly tables: Map<string, Tensor<'f32'>>;
  readonly context: Context;
}

/**
 * Computes the first block's inputs from ids, in both models. The tables are not needed again, and may be most of a
 * model.
 */
export async function embedStreams<T>({
  source,
  model,
  walk,
  original,
  pairedTokens,
  tables,
  context,
}: EmbeddedStreams<T>): Promise<void> {
  const { profile } = context;
  // The table of tokens has the rows of the windows' tokens alone.
  const tokens = model.tokenTable === undefined ? undefined : windowTokens(walk.windows);
  const someRows = (name: string) => (name === model.tokenTable ? tokens : undefined);
  const read = (name: string) => {
    const some = someRows(name);
    return some ? source.rows(name, some.ids) : source.weight(name);
  };
  // Without an unquantized model, no stream reads the original of a quantized table.
  const names = model.embeddingTensors.filter((name) => original || !tables.has(name));
  const weights: BlockWeights = new Map();
  for (const name of names) weights.set(name, await profile.stage('read', () => read(name)));
  for (const [name, tensor] of weights) (original ?? walk).setWeight(name, tensor);
  if (original) walk.borrowWeights(original);
  await profile.stage('forward', async () => original?.embed(pairedTokens, tokens));
  if (original && tables.size > 0) {
    // One table is loaded at a time, because the engine's memory grows and does not shrink.
    walk.clearWeights();
    original.clearWeights();
    for (const [name, values] of weights) if (!tables.has(name)) walk.setWeight(name, values);
    weights.clear();
  }
  for (const [name, values] of tables) {
    const some = someRows(name);
    walk.setWeight(name, some ? takeRows(values, some.ids) : values);
  }
  tables.clear();
  await profile.stage('forward', () => walk.embed(1, tokens));
  // The walk that borrows is cleared first: see `clearWeights`.
  walk.clearWeights();
  original?.clearWeights();
}
