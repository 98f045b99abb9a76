import type { Socket } from 'node:net';
import { WorkerError } from './worker-error.js';

/** Whole messages over a stream, in order, in both directions. */
export interface Connection {
  /**
   * Resolves when the system has the bytes.
   * @throws WorkerError when the other side has closed
   */
  send(message: Uint8Array): Promise<void>;
  /**
   * The next message.
   * @throws WorkerError when the other side closes, sends a frame beyond the limit, or sends nothing for this long
   */
  receive(milliseconds: number): Promise<Uint8Array>;
  /** Closes at once; a pending `receive` ends with an error. */
  close(): void;
}

/** 2 GiB: the gradients of 500 M parameters in f32. A larger length is invalid. */
const largestFrame = 2 ** 31;

/** Frames of a u32 length, little-endian, and the bytes. */
export function connectionOver(socket: Socket, peer: string): Connection {
  const messages: Uint8Array[] = [];
  let waiting: { resolve: (message: Uint8Array) => void; reject: (error: Error) => void } | undefined;
  let failure: WorkerError | undefined;
  let header = Buffer.alloc(0);
  let body: { bytes: Uint8Array; filled: number } | undefined;

  const fail = (reason: string) => {
    failure ??= new WorkerError(`${peer}: ${reason}`);
    waiting?.reject(failure);
    waiting = undefined;
    socket.destroy();
  };
  const deliver = (message: Uint8Array) => {
    if (waiting) {
      waiting.resolve(message);
      waiting = undefined;
    } else messages.push(message);
  };
  const finish = () => {
    if (!body || body.filled < body.bytes.length) return;
    const { bytes } = body;
    body = undefined;
    deliver(bytes);
  };
  const read = (chunk: Buffer) => {
    let rest = chunk;
    while (rest.length > 0 && !failure) {
      if (!body) {
        const missing = 4 - header.length;
        header = Buffer.concat([header, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (header.length < 4) return;
        const length = header.readUInt32LE();
        if (length > largestFrame)
          return fail(`sent a message of ${length} bytes, more than ${largestFrame}: it is not a valid message`);
        body = { bytes: new Uint8Array(length), filled: 0 };
        header = Buffer.alloc(0);
        // An empty message has no byte after which it could end.
        finish();
        continue;
      }
      const part = rest.subarray(0, body.bytes.length - body.filled);
      body.bytes.set(part, body.filled);
      body.filled += part.length;
      rest = rest.subarray(part.length);
      finish();
    }
  };
  socket.on('data', read);
  socket.on('error', (error) => fail(`the connection failed (${error.message})`));
  socket.on('close', () => fail('the connection was closed: the process ended'));
  return {
    send: (message) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(message.length);
        socket.write(length);
        socket.write(message, (error) =>
          error ? reject(failure ?? new WorkerError(`${peer}: ${error.message}`)) : resolve(),
        );
      }),
    receive: (milliseconds) =>
      new Promise((resolve, reject) => {
        const message = messages.shift();
        if (message) return resolve(message);
        if (failure) return reject(failure);
        const timer = setTimeout(
          () => fail(`has sent nothing for ${Math.round(milliseconds / 1000)} s: it is stuck or unreachable`),
          milliseconds,
        );
        waiting = {
          resolve: (found) => {
            clearTimeout(timer);
            resolve(found);
          },
          reject: (error) => {
            clearTimeout(timer);
            reject(error);
          },
        };
      }),
    close: () => socket.destroy(),
  };
}
