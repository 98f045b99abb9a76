import type { ByteSource } from '@q/safetensors';
import { Cursor, EndOfStretch } from './cursor.js';
import { type GgufMetadata, type GgufValue, readValue } from './metadata.js';
import { type GgufTensorType, ggufTensorTypeOf } from './tensor-type.js';

/** A tensor in a file; offsets are absolute, `end` exclusive. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  /**
   * Row-major, as everywhere in this toolkit: the file lists the sizes in the reverse order. Blocks are along the last
   * one.
   */
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: GgufMetadata;
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Tensors begin at multiples of this. */
  readonly alignment: number;
  /** First byte of the data. */
  readonly dataStart: number;
}

export const alignmentKey = 'general.alignment';
/** Alignment of tensors in a file whose metadata name no other. */
export const defaultAlignment = 32;
/** Larger than any page of memory or disk: a larger alignment would fill files with zeros. */
export const mostAlignment = 2 ** 16;
const magic = 0x46554747;
/** Limits of ggml's reader (docs/reference/file-formats.md#container-of-gguf). */
export const mostNameBytes = 63;
const mostKeyBytes = 65535;
export const mostDimensions = 4;
/** The number of bytes of the first read; each later read is four times as long, until the header is complete. */
const firstStretch = 2 ** 20;

/** Bytes up to the next multiple of the alignment, at which the next tensor of a file begins. */
export const alignedLength = (bytes: number, alignment: number): number => Math.ceil(bytes / alignment) * alignment;

/**
 * Reads and checks the header of a GGUF file of version 2 or 3. Every rejection of
 * docs/reference/file-formats.md#container-of-gguf is a FormatError that names the file, the key or tensor, what was
 * found and what was expected. A part of a split file is refused.
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  for (let stretch = firstStretch; ; stretch *= 4) {
    const bytes = await source.slice(0, Math.min(stretch, source.byteLength));
    try {
      return parseHeader(new Cursor(source.name, bytes, source.byteLength));
    } catch (error) {
      if (!(error instanceof EndOfStretch)) throw error;
    }
  }
}

function parseHeader(from: Cursor): GgufHeader {
  if (from.fileBytes < 24)
    from.fail(`the file has ${from.fileBytes} bytes, a GGUF file has at least 24: it is truncated or of another kind`);
  if (from.u32() !== magic) from.fail('the file does not begin with GGUF: it is of another kind');
  const version = from.u32();
  if (version !== 0 && (version & 0xffff) === 0)
    from.fail('the file is big-endian: convert it on a little-endian machine first');
  if (version !== 2 && version !== 3)
    from.fail(`the file has version ${version}, 2 and 3 are read: convert the model again with a newer tool`);
  // A tensor takes at least a name's length, a count of sizes, a type and an offset; an entry a key's length, a type
  // and a byte.
  const tensorCount = from.count(24, 'tensors');
  const entryCount = from.count(13, 'metadata entries');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    from.place = `metadata entry ${i}`;
    const start = from.position;
    const key = from.string();
    const keyBytes = from.position - start - 8;
    if (keyBytes === 0 || keyBytes > mostKeyBytes)
      from.fail(`the key has ${keyBytes} bytes, 1 to ${mostKeyBytes} are allowed`);
    from.place = `metadata ${JSON.stringify(key)}`;
    if (metadata.has(key)) from.fail('the key is there twice');
    metadata.set(key, readValue(from));
  }
  const parts = metadata.get('split.count')?.value;
  if (typeof parts === 'number' && parts > 1) {
    from.place = 'metadata "split.count"';
    from.fail(`the file is one of ${parts} parts of a model: merge them first (llama-gguf-split --merge)`);
  }
  const alignment = readAlignment(from, metadata.get(alignmentKey));
  const entries: Omit<GgufTensor, 'end'>[] = [];
  for (let i = 0; i < tensorCount; i++) {
    from.place = `tensor ${i}`;
    entries.push(readTensorInfo(from));
  }
  const dataStart = alignedLength(from.position, alignment);
  return { version, metadata, tensors: place(from, entries, dataStart, alignment), alignment, dataStart };
}

function readAlignment(from: Cursor, entry: GgufValue | undefined): number {
  if (!entry) return defaultAlignment;
  from.place = `metadata "${alignmentKey}"`;
  const { type, value } = entry;
  if (type !== 'u32' || value === 0 || (value & (value - 1)) !== 0)
    from.fail(`it is ${value} of type ${type}: a power of two of type u32 was expected`);
  if (value > mostAlignment) from.fail(`it is ${value}, at most ${mostAlignment} is allowed: the file is damaged`);
  return value as number;
}

/** `begin` is still relative to the start of the data. */
function readTensorInfo(from: Cursor): Omit<GgufTensor, 'end'> {
  const start = from.position;
  const name = from.string();
  const nameBytes = from.position - start - 8;
  from.place = `tensor ${JSON.stringify(name)}`;
  if (nameBytes > mostNameBytes) from.fail(`the name has ${nameBytes} bytes, at most ${mostNameBytes} are allowed`);
  const dimensions = from.u32();
  if (dimensions > mostDimensions) from.fail(`it has ${dimensions} dimensions, at most ${mostDimensions} are allowed`);
  const sizes = Array.from({ length: dimensions }, () => from.u64());
  // The product of sizes has no limit: compute with BigInt, then compare.
  const count = sizes.reduce((product, size) => product * size, 1n);
  if (sizes.some((size) => size >= 1n << 63n) || count > BigInt(Number.MAX_SAFE_INTEGER))
    from.fail(`sizes [${sizes}] make ${count} values: more than can be counted`);
  const id = from.u32();
  const type = ggufTensorTypeOf(id);
  if (!type) return from.fail(`it has type ${id}, which is unknown, obsolete, or not for files`);
  const row = Number(sizes[0] ?? 1n);
  if (row % type.values !== 0)
    from.fail(`rows of ${row} values are not whole blocks of ${type.values}, which ${type.name} needs`);
  const begin = Number(from.u64());
  return { name, type, shape: sizes.map(Number).reverse(), begin };
}

/** In the listed order each tensor begins at the padded end of the one before; the file must contain them all. */
function place(
  from: Cursor,
  entries: readonly Omit<GgufTensor, 'end'>[],
  dataStart: number,
  alignment: number,
): ReadonlyMap<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  let position = 0;
  for (const { name, type, shape, begin } of entries) {
    from.place = `tensor ${JSON.stringify(name)}`;
    if (tensors.has(name)) from.fail('the name is there twice');
    if (begin !== position) from.fail(`it begins at byte ${begin} of the data, ${position} was expected`);
    const count = shape.reduce((product, size) => product * size, 1);
    const bytes = (count / type.values) * type.bytes;
    const end = dataStart + begin + bytes;
    if (end > from.fileBytes) from.fail(`it ends at byte ${end}, the file has ${from.fileBytes}: it is truncated`);
    tensors.set(name, { name, type, shape, begin: dataStart + begin, end });
    position += alignedLength(bytes, alignment);
  }
  return tensors;
}
