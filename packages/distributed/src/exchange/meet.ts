import { createHash, timingSafeEqual } from 'node:crypto';
import { connect, createServer, type ListenOptions, type Socket, type TcpSocketConnectOpts } from 'node:net';
import { type Connection, connectionOver } from './connection.js';
import { WorkerError } from './worker-error.js';

/**
 * The address where workers connect: a socket in the file system, which other machines cannot reach, or a TCP address.
 */
export type MeetingPlace = { readonly path: string } | { readonly host: string; readonly port: number };

export interface MeetingOptions {
  readonly place: MeetingPlace;
  /** Secret of all workers of a run: processes without it are rejected. */
  readonly token: string;
  /** Identity of the run: recipe, model, text and release of the toolkit. Workers of another run are rejected. */
  readonly run: string;
  /** Milliseconds to wait for all workers, or for worker 0. Default one minute. */
  readonly patience?: number;
  readonly signal?: AbortSignal;
}

interface Hello {
  readonly token: string;
  readonly run: string;
}

type Welcome = { readonly rank: number; readonly workers: number } | { readonly refused: string };

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const nameOf = (place: MeetingPlace) => ('path' in place ? place.path : `${place.host}:${place.port}`);

/**
 * Worker 0 waits for the others, who get their ranks in the order of arrival.
 * @returns the connections to workers 1, 2, ...
 * @throws WorkerError when some workers have not connected in time
 */
export function awaitWorkers(workers: number, options: MeetingOptions): Promise<readonly Connection[]> {
  const { place, token, run, patience = 60_000, signal } = options;
  if (workers === 1) return Promise.resolve([]);
  return new Promise((resolve, reject) => {
    const connections: Connection[] = [];
    const refusals: string[] = [];
    const server = createServer(async (socket) => {
      const peer = `worker ${connections.length + 1}`;
      const guest = connectionOver(socket, `a process that wants to join at ${nameOf(place)}`);
      try {
        const refusal = refusalOf(await guest.receive(5_000), token, run);
        if (refusal !== undefined || connections.length >= workers - 1) {
          refusals.push(refusal ?? 'one worker too many');
          await guest.send(encode({ refused: refusal ?? `all ${workers} workers are connected` } satisfies Welcome));
          guest.close();
          return;
        }
        // From here on messages name the worker by its rank.
        socket.removeAllListeners();
        const connection = connectionOver(socket, `worker ${connections.length + 1}`);
        connections.push(connection);
        await connection.send(encode({ rank: connections.length, workers } satisfies Welcome));
        if (connections.length === workers - 1) finish(() => resolve(connections));
      } catch (error) {
        refusals.push(`${peer}: ${(error as Error).message}`);
        guest.close();
      }
    });
    const finish = (end: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      server.close();
      end();
    };
    const fail = (error: Error) =>
      finish(() => {
        for (const each of connections) each.close();
        reject(error);
      });
    const onAbort = () => fail(signal?.reason as Error);
    const timer = setTimeout(() => {
      const said = refusals.length > 0 ? ` Rejected: ${[...new Set(refusals)].join('; ')}.` : '';
      fail(
        new WorkerError(
          `${connections.length + 1} of ${workers} workers met at ${nameOf(place)} within ${Math.round(patience / 1000)} s: start the others, or take fewer.${said}`,
        ),
      );
    }, patience);
    signal?.addEventListener('abort', onAbort);
    server.on('error', (error) => fail(new WorkerError(`workers cannot meet at ${nameOf(place)}: ${error.message}`)));
    server.listen({ ...place } as ListenOptions);
  });
}

function refusalOf(bytes: Uint8Array, token: string, run: string): string | undefined {
  let hello: Partial<Hello>;
  try {
    hello = JSON.parse(new TextDecoder().decode(bytes)) as Partial<Hello>;
  } catch {
    return 'it does not speak this protocol';
  }
  // Hashes of one length: the comparison takes the same time for any difference.
  const sum = (text: unknown) => createHash('sha256').update(String(text)).digest();
  if (!timingSafeEqual(sum(hello?.token), sum(token))) return 'its token differs';
  if (hello.run !== run)
    return 'it belongs to another run: model, text, options and release must be the same on all workers';
  return undefined;
}

/**
 * Joins a run.
 * @throws WorkerError when worker 0 does not answer in time, or rejects this process, with the reason
 */
export async function joinWorkers(
  options: MeetingOptions,
): Promise<{ readonly rank: number; readonly workers: number; readonly connection: Connection }> {
  const { place, token, run, patience = 60_000, signal } = options;
  const end = Date.now() + patience;
  let socket: Socket | undefined;
  while (!socket) {
    signal?.throwIfAborted();
    socket = await tryConnect(place);
    if (socket) break;
    if (Date.now() > end)
      throw new WorkerError(
        `worker 0 is not at ${nameOf(place)} after ${Math.round(patience / 1000)} s: start it first, and check the address`,
      );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const connection = connectionOver(socket, 'worker 0');
  await connection.send(encode({ token, run } satisfies Hello));
  const welcome = JSON.parse(new TextDecoder().decode(await connection.receive(patience))) as Welcome;
  if ('refused' in welcome) {
    connection.close();
    throw new WorkerError(`worker 0 at ${nameOf(place)} rejected this process: ${welcome.refused}`);
  }
  return { ...welcome, connection };
}

function tryConnect(place: MeetingPlace): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ ...place } as TcpSocketConnectOpts);
    socket.once('connect', () => {
      socket.removeAllListeners();
      resolve(socket);
    });
    socket.once('error', () => resolve(undefined));
  });
}
