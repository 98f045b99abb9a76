import { type BlockDescription, noProfile, type Profile, type ProgressEvent, type Tensor } from '@q/core';
import type { BlockWalk } from './block-walk.js';
import { windowTokens } from './window-tokens.js';

/** Reads a tensor by its checkpoint name, linears `[out, in]`. */
export type ReadWeight = (name: string) => Promise<Tensor<'f32'>>;

/** Reads rows `ids`, which rise, of a table by its checkpoint name: `[ids.length, width]`. */
type ReadRows = (name: string, ids: Int32Array) => Promise<Tensor<'f32'>>;

/** How {@link embedWindows} computes. */
export interface EmbedOptions {
  /** Told how long the model ran. */
  readonly profile?: Profile;
  /** Reads the table of tokens if the model says which it is; `read` reads the whole table when absent. */
  readonly readRows?: ReadRows;
}

export interface BlockPass {
  readonly read: ReadWeight;
  /** In order; all blocks of the model when absent. */
  readonly blocks?: readonly BlockDescription[];
  /**
   * Called at each block, whose weights are loaded. It takes the states through the block; they run through it when
   * absent.
   */
  readonly visit?: (block: BlockDescription) => Promise<void>;
  /** Told after each block. */
  readonly progress?: (event: ProgressEvent) => void;
  /** Shown in progress. Default `forward`. */
  readonly task?: string;
  /** Text after the block's number in the progress. */
  readonly note?: (block: BlockDescription) => string;
  /** Told how long the model ran. */
  readonly profile?: Profile;
}

/**
 * The first walk loads weights, the others, which are of the same engine, borrow them: each weight is read and uploaded
 * once.
 */
export type Walks<T> = readonly [BlockWalk<T>, ...BlockWalk<T>[]];

/**
 * Token ids -> the inputs of the first block, in all walks. The tables of embeddings are freed: they may be most of a
 * model.
 * @param walks on the same windows
 */
export async function embedWindows<T>(
  walks: Walks<T>,
  read: ReadWeight,
  { profile = noProfile, readRows }: EmbedOptions = {},
): Promise<void> {
  const [{ model, windows }] = walks;
  const tokens = readRows && model.tokenTable !== undefined ? windowTokens(windows) : undefined;
  const readTable: ReadWeight = (name) =>
    tokens && readRows && name === model.tokenTable ? readRows(name, tokens.ids) : read(name);
  await withWeights(walks, model.embeddingTensors, readTable, async () => {
    for (const walk of walks) await profile.stage('forward', () => walk.embed(1, tokens));
  });
}

/**
 * Takes all windows of the walks through blocks, one block after the other: the engine holds the weights of one block.
 */
export async function walkBlocks<T>(walks: Walks<T>, pass: BlockPass): Promise<void> {
  const { read, visit, progress, task = 'forward', note, profile = noProfile } = pass;
  const [{ model }] = walks;
  for (const block of pass.blocks ?? model.blocks) {
    await withWeights(walks, block.tensors, read, async () => {
      if (visit) await visit(block);
      else for (const walk of walks) await profile.stage('forward', () => walk.runBlock(block));
    });
    progress?.({
      ...{ task, done: block.index + 1, total: model.blocks.length, unit: 'blocks' },
      ...(note ? { note: note(block) } : {}),
    });
  }
}

/** Loads tensors into the walks for as long as `use` lasts. */
async function withWeights<T>(
  walks: Walks<T>,
  names: readonly string[],
  read: ReadWeight,
  use: () => Promise<void>,
): Promise<void> {
  const [owner, ...borrowers] = walks;
  try {
    await owner.load(names, read);
    for (const walk of borrowers) walk.borrowWeights(owner);
    await use();
  } finally {
    // The owner last: the others still name its weights.
    for (const walk of [...walks].reverse()) walk.clearWeights();
  }
}
