import { FormatError } from '@q/core';
import { ByteSink } from './byte-sink.js';
import {
  alignedLength,
  alignmentKey,
  defaultAlignment,
  mostAlignment,
  mostDimensions,
  mostNameBytes,
} from './header.js';
import { type GgufMetadata, writeValue } from './metadata.js';
import type { GgufTensorType } from './tensor-type.js';

/** A tensor of a planned file. */
export interface PlannedGgufTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  /** Row-major. */
  readonly shape: readonly number[];
}

/** The offset of everything, known before a byte is written. */
export interface GgufFilePlan {
  /** The whole header, padded to the start of the data. */
  readonly header: Uint8Array;
  /** Absolute, `end` exclusive; the padding after it is zero. */
  readonly places: ReadonlyMap<string, { readonly begin: number; readonly end: number }>;
  readonly byteLength: number;
}

/**
 * Plans a file of version 3.
 * @throws FormatError for files that readers would refuse: names that are too long or duplicate, shapes that do not
 *   hold whole blocks, and an alignment that is not a power of two
 */
export function planGgufFile(metadata: GgufMetadata, tensors: readonly PlannedGgufTensor[]): GgufFilePlan {
  const alignment = Number(metadata.get(alignmentKey)?.value ?? defaultAlignment);
  if (!(alignment > 0 && alignment <= mostAlignment && (alignment & (alignment - 1)) === 0))
    throw new FormatError(`${alignmentKey} is ${alignment}: a power of two of at most ${mostAlignment} was expected`);
  const head = new ByteSink().put(new TextEncoder().encode('GGUF')).u32(3).u64(tensors.length).u64(metadata.size);
  for (const [key, value] of metadata) writeValue(head.string(key), value);
  const offsets = new Map<string, { readonly offset: number; readonly bytes: number }>();
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    const fail = (message: string): never => {
      throw new FormatError(`tensor ${JSON.stringify(name)}: ${message}`);
    };
    if (offsets.has(name)) fail('the name is there twice');
    if (new TextEncoder().encode(name).length > mostNameBytes)
      fail(`the name has more than ${mostNameBytes} bytes, which readers refuse`);
    if (shape.length > mostDimensions) fail(`it has ${shape.length} dimensions, at most ${mostDimensions} are allowed`);
    const row = shape[shape.length - 1] ?? 1;
    if (row % type.values !== 0)
      fail(`rows of ${row} values are not whole blocks of ${type.values}, which ${type.name} needs`);
    const bytes = (shape.reduce((product, size) => product * size, 1) / type.values) * type.bytes;
    head.string(name).u32(shape.length);
    for (const size of [...shape].reverse()) head.u64(size);
    head.u32(type.id).u64(offset);
    offsets.set(name, { offset, bytes });
    offset += alignedLength(bytes, alignment);
  }
  const dataStart = alignedLength(head.length, alignment);
  head.put(new Uint8Array(dataStart - head.length));
  const places = new Map(
    [...offsets].map(([name, at]) => [name, { begin: dataStart + at.offset, end: dataStart + at.offset + at.bytes }]),
  );
  return { header: head.bytes(), places, byteLength: dataStart + offset };
}
