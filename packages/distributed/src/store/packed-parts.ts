import { createHash } from 'node:crypto';
import { FormatError } from '@q/core';

/** A JSON value, and arrays of bytes. */
export interface PackedParts<Header> {
  readonly header: Header;
  readonly parts: readonly Uint8Array[];
}

const magic = 'qparts1\n';
const sumBytes = 32;

/**
 * Packs a header and arrays of bytes into one object: magic, SHA-256 of the rest, u32 length of the header, header,
 * parts.
 */
export function packParts<Header>({ header, parts }: PackedParts<Header>): Uint8Array {
  const head = new TextEncoder().encode(JSON.stringify({ header, lengths: parts.map(({ length }) => length) }));
  const begin = magic.length + sumBytes;
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, begin + 4 + head.length));
  new DataView(bytes.buffer).setUint32(begin, head.length, true);
  bytes.set(head, begin + 4);
  let at = begin + 4 + head.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  bytes.set(new TextEncoder().encode(magic), 0);
  bytes.set(createHash('sha256').update(bytes.subarray(begin)).digest(), magic.length);
  return bytes;
}

/** @throws FormatError naming the object when it is truncated or damaged */
export function unpackParts<Header>(bytes: Uint8Array, name: string): PackedParts<Header> {
  const begin = magic.length + sumBytes;
  const whole =
    bytes.length >= begin + 4 &&
    new TextDecoder().decode(bytes.subarray(0, magic.length)) === magic &&
    createHash('sha256').update(bytes.subarray(begin)).digest().equals(bytes.subarray(magic.length, begin));
  if (!whole) throw new FormatError(`${name}: is damaged: its checksum differs`);
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(begin, true);
  const { header, lengths } = JSON.parse(new TextDecoder().decode(bytes.subarray(begin + 4, begin + 4 + size)));
  let at = begin + 4 + size;
  const parts = (lengths as number[]).map((length) => {
    at += length;
    return bytes.subarray(at - length, at);
  });
  return { header, parts };
}
