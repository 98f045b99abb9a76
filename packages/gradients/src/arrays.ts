import { FormatError } from '@q/core';

/** Named arrays as bytes: u32 length of a JSON header `[[name, length], ...]`, the header, the f32 values. */
export function writeArrays(arrays: ReadonlyMap<string, Float32Array>): Uint8Array {
  const header = new TextEncoder().encode(JSON.stringify([...arrays].map(([name, { length }]) => [name, length])));
  const total = [...arrays.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const bytes = new Uint8Array(4 + header.length + total);
  new DataView(bytes.buffer).setUint32(0, header.length, true);
  bytes.set(header, 4);
  let at = 4 + header.length;
  for (const values of arrays.values()) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return bytes;
}

/** @throws FormatError when the bytes are not the output of `writeArrays` */
export function readArrays(bytes: Uint8Array): Map<string, Float32Array> {
  const entries = readHeader(bytes);
  const arrays = new Map<string, Float32Array>();
  let at = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  for (const [name, length] of entries) {
    if (at + 4 * length > bytes.length)
      throw new FormatError(`the state of a worker ends before ${name}: it is truncated`);
    arrays.set(name, new Float32Array(bytes.slice(at, at + 4 * length).buffer));
    at += 4 * length;
  }
  return arrays;
}

function readHeader(bytes: Uint8Array): [string, number][] {
  const length = bytes.length >= 4 ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) : Infinity;
  if (4 + length > bytes.length) throw new FormatError('the state of a worker is truncated');
  try {
    const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(4, 4 + length)));
    const valid = (entry: unknown) =>
      Array.isArray(entry) && typeof entry[0] === 'string' && Number.isSafeInteger(entry[1]) && entry[1] >= 0;
    if (Array.isArray(header) && header.every(valid)) return header;
  } catch {
    // Below, one message covers all forms of an invalid header.
  }
  throw new FormatError('the state of a worker has no readable header: it was damaged in transit');
}
