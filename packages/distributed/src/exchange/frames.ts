import { WorkerError } from './worker-error.js';

/** A message from worker 0 to the others in a round: all messages by rank, or the reason why there are none. */
export type Round = { readonly messages: readonly Uint8Array[] } | { readonly stopped: string };

/** u32 count, u32 lengths, the messages. A count of 0 is followed by the reason as UTF-8. */
export function writeRound(round: Round): Uint8Array {
  if ('stopped' in round) {
    const text = new TextEncoder().encode(round.stopped);
    const bytes = new Uint8Array(4 + text.length);
    bytes.set(text, 4);
    return bytes;
  }
  const { messages } = round;
  const head = 4 + 4 * messages.length;
  const bytes = new Uint8Array(messages.reduce((sum, { length }) => sum + length, head));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, messages.length, true);
  let at = head;
  messages.forEach((message, i) => {
    view.setUint32(4 + 4 * i, message.length, true);
    bytes.set(message, at);
    at += message.length;
  });
  return bytes;
}

/**
 * @throws WorkerError for bytes that are not a round of this many workers, and with the reason when the run was stopped
 */
export function readRound(bytes: Uint8Array, workers: number): readonly Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.length >= 4 ? view.getUint32(0, true) : Number.NaN;
  if (count === 0) throw new WorkerError(`worker 0 stopped the run: ${new TextDecoder().decode(bytes.subarray(4))}`);
  const head = 4 + 4 * workers;
  if (count !== workers || bytes.length < head)
    throw new WorkerError(`worker 0 sent ${bytes.length} bytes that are not a round of ${workers} workers`);
  const messages: Uint8Array[] = [];
  let at = head;
  for (let i = 0; i < workers; i++) {
    const length = view.getUint32(4 + 4 * i, true);
    messages.push(bytes.subarray(at, at + length));
    at += length;
  }
  if (at !== bytes.length) throw new WorkerError(`worker 0 sent a round of ${bytes.length} bytes, expected ${at}`);
  return messages;
}
