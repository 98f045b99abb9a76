import { FormatError, type TensorStacks } from '@q/core';
import { readTensor, type ShardEntry, type ShardReader } from '@q/safetensors';

/** The position of a tensor of the model in a tensor of a file. */
interface Slice {
  readonly stack: string;
  /** Bytes from the start of the stack. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * The tensors of files by the model's names: a tensor with all experts of a layer appears as one tensor for each
 * expert.
 * @throws FormatError naming a stack whose slices are not whole tensors
 */
export function stackedShards(shards: ShardReader, stacks: TensorStacks): ShardReader {
  const entries = new Map<string, ShardEntry>();
  const slices = new Map<string, Slice>();
  for (const [stack, entry] of shards.entries) {
    const parts = stacks.split(stack, entry.shape);
    if (!parts) {
      entries.set(stack, entry);
      continue;
    }
    const [count, rows = 1, ...rest] = entry.shape;
    /** Tensors that a slice is divided into: one where its only row is that of all of them. */
    const each = rows === 1 ? 1 : (parts[0] ?? []).length;
    const bytes = (entry.end - entry.begin) / (count * each);
    if (parts.length !== count || !Number.isInteger(bytes) || (entry.shape.length > 1 && rows % each !== 0))
      throw new FormatError(
        `${entry.file}: tensor ${stack} of shape [${entry.shape}] and dtype ${entry.dtype} cannot be divided into ${parts.length} x ${each} tensors: the config is not that of these weights`,
      );
    for (const [index, names] of parts.entries())
      for (const [part, name] of names.entries()) {
        if (shards.entries.has(name))
          throw new FormatError(
            `${entry.file}: tensor ${stack} holds ${name}, which is also a tensor of its own: remove one of them`,
          );
        const offset = bytes * (index * each + (part % each));
        const begin = entry.begin + offset;
        const shape = entry.shape.length > 1 ? [rows / each, ...rest] : [];
        entries.set(name, { ...entry, name, shape, begin, end: begin + bytes });
        slices.set(name, { stack, offset, bytes });
      }
  }
  if (slices.size === 0) return shards;
  const readBytes: ShardReader['readBytes'] = async (name, start = 0, end, out) => {
    const slice = slices.get(name);
    if (!slice) return shards.readBytes(name, start, end, out);
    const stop = Math.min(end ?? slice.bytes, slice.bytes);
    return shards.readBytes(slice.stack, slice.offset + start, slice.offset + stop, out);
  };
  return {
    ...shards,
    entries,
    readBytes,
    async read(name, out) {
      const entry = entries.get(name);
      if (!entry || !slices.has(name)) return shards.read(name, out);
      const bytes = await readBytes(name);
      const source = { name, byteLength: bytes.length, slice: async () => bytes, close: async () => {} };
      return readTensor(source, { ...entry, begin: 0, end: bytes.length }, out);
    },
  };
}
