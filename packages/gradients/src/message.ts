import { FormatError } from '@q/core';
import { crc32 } from './crc32.js';

/**
 * The message of one worker in one round of one step. All integers are little-endian u32: `QGRD`, version, rank, step,
 * round, fingerprint, number of tensors, length of the body, CRC-32 of everything else; then the body: the length of
 * each tensor's payload, and the payloads.
 */
export interface GradientMessage {
  readonly rank: number;
  /** Number of the optimizer's step, from 0. */
  readonly step: number;
  /** Round within the step, from 0. */
  readonly round: number;
  /**
   * Identifies the settings that all workers must share: the scheme, and names and shapes of the tensors. See {@link
   * fingerprintOf}.
   */
  readonly fingerprint: number;
  readonly payloads: readonly Uint8Array[];
}

const magic = 0x44524751;
const version = 1;
const headerBytes = 36;

export function fingerprintOf(description: unknown): number {
  return crc32(new TextEncoder().encode(JSON.stringify(description)));
}

export function writeMessage({ rank, step, round, fingerprint, payloads }: GradientMessage): Uint8Array {
  const body = payloads.reduce((sum, payload) => sum + 4 + payload.length, 0);
  const bytes = new Uint8Array(headerBytes + body);
  const view = new DataView(bytes.buffer);
  [magic, version, rank, step, round, fingerprint, payloads.length, body].forEach((value, i) => {
    view.setUint32(4 * i, value, true);
  });
  let lengths = headerBytes;
  let place = headerBytes + 4 * payloads.length;
  for (const payload of payloads) {
    view.setUint32(lengths, payload.length, true);
    lengths += 4;
    bytes.set(payload, place);
    place += payload.length;
  }
  view.setUint32(32, checksum(bytes), true);
  return bytes;
}

/** The fields that a message must have to be accepted. */
export type ExpectedMessage = Omit<GradientMessage, 'payloads'> & { readonly tensors: number };

/**
 * Reads and checks a message. The payloads are views of `bytes`.
 * @throws FormatError naming the worker, and whether the message is truncated, damaged, repeated, out of order or from
 *   another training
 */
export function readMessage(bytes: Uint8Array, expected: ExpectedMessage): GradientMessage {
  const from = `the gradient message of worker ${expected.rank} for step ${expected.step}, round ${expected.round}`;
  const fail = (what: string): never => {
    throw new FormatError(`${from} ${what}`);
  };
  if (bytes.length < headerBytes) fail(`has ${bytes.length} bytes, its header takes ${headerBytes}: it is truncated`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [mark, format, rank, step, round, fingerprint, tensors, body, sum] = Array.from({ length: 9 }, (_, i) =>
    view.getUint32(4 * i, true),
  );
  if (mark !== magic) fail('does not begin with QGRD: it is no gradient message');
  if (format !== version) fail(`has version ${format}, expected ${version}: the workers run different releases`);
  if (bytes.length !== headerBytes + body)
    fail(`has ${bytes.length} bytes, expected ${headerBytes + body}: it is truncated`);
  if (sum !== checksum(bytes)) fail('does not match its checksum: it was damaged in transit');
  if (fingerprint !== expected.fingerprint)
    fail('belongs to another scheme or to other tensors: start all workers with the same command and model');
  if (rank !== expected.rank) fail(`names worker ${rank} as its sender`);
  const place = step - expected.step || round - expected.round;
  if (place !== 0)
    fail(`is of step ${step}, round ${round}: it is ${place < 0 ? 'repeated, or late' : 'ahead: a message was lost'}`);
  if (tensors !== expected.tensors || 4 * tensors > body)
    fail(`has ${tensors} tensors, expected ${expected.tensors}: the workers train different models`);
  const payloads: Uint8Array[] = [];
  let at = headerBytes + 4 * tensors;
  for (let i = 0; i < tensors; i++) {
    const length = view.getUint32(headerBytes + 4 * i, true);
    if (at + length > bytes.length) fail(`has a payload ${i} of ${length} bytes beyond its end`);
    payloads.push(bytes.subarray(at, at + length));
    at += length;
  }
  if (at !== bytes.length) fail(`has ${bytes.length - at} bytes after its last payload`);
  return { rank, step, round, fingerprint, payloads };
}

/** The checksum of everything except the checksum itself. */
function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(headerBytes), crc32(bytes.subarray(0, 32)));
}
