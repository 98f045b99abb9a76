import { FormatError, type ModelDescription } from '@q/core';
import type { ShardReader } from '@q/safetensors';

const chunkBytes = 16 * 2 ** 20;

/**
 * Looks for tensors that the config calls tied but that have their own values in the file: a head that was trained
 * apart from the embeddings. As in transformers, the file's values are used.
 * @param notes gets a line when there is one
 * @returns the correct values of config.json's keys; empty when the config is right
 * @throws FormatError when a tie of another kind is contradicted
 */
export async function ownHead(
  path: string,
  model: ModelDescription,
  shards: ShardReader,
  notes: string[],
): Promise<Readonly<Record<string, unknown>>> {
  for (const [name, equal] of model.ties) {
    if (!shards.entries.has(name) || !shards.entries.has(equal) || (await sameBytes(shards, name, equal))) continue;
    if (name !== `${model.head?.module}.weight`)
      throw new FormatError(
        `${path}: config.json says that ${name} is ${equal}, and the file has other values for it: remove one of them, or correct the config`,
      );
    notes.push(
      `${name} has values of its own, though config.json says that it is ${equal} (tie_word_embeddings): it is read, and counts as untied`,
    );
    return { tie_word_embeddings: false };
  }
  return {};
}

async function sameBytes(shards: ShardReader, a: string, b: string): Promise<boolean> {
  const [one, other] = [a, b].map((name) => shards.entries.get(name)) as [Entry, Entry];
  const bytes = one.end - one.begin;
  if (one.dtype !== other.dtype || `${one.shape}` !== `${other.shape}`) return false;
  for (let start = 0; start < bytes; start += chunkBytes) {
    const end = Math.min(start + chunkBytes, bytes);
    const [mine, theirs] = await Promise.all([a, b].map((name) => shards.readBytes(name, start, end)));
    if (Buffer.compare(mine, theirs) !== 0) return false;
  }
  return true;
}

type Entry = NonNullable<ReturnType<ShardReader['entries']['get']>>;
