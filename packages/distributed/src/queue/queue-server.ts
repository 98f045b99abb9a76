import type { Job, Queue, QueueEvents, Worker, WorkerOptions } from 'bullmq';
import { QueueError } from './queue-error.js';

/** The function of a worker for a job; `token` is that of the job's lock. */
type Processor = (job: Job, token?: string) => Promise<void>;

/** BullMQ on the server of an address. */
export interface QueueServer {
  /** The address without its password. */
  readonly name: string;
  queue(name: string): Queue;
  events(name: string): QueueEvents;
  worker(name: string, processor: Processor, options: Omit<WorkerOptions, 'connection'>): Worker;
  close(): Promise<void>;
}

/** Longest pause between attempts to reach a lost server, in milliseconds. */
const longestPause = 2000;

/** Longest time for the first connection. */
const firstMilliseconds = 10_000;

/**
 * Opens the server of an address: `redis://` and `rediss://` (TLS) for Redis and Valkey, `postgres://` for PostgreSQL.
 * The address contains user, password and settings of TLS. BullMQ and the client of the server are loaded only here.
 * @throws QueueError when the address is none of them, or no usable server answers there
 */
export async function openQueueServer(address: string): Promise<QueueServer> {
  const name = hidePassword(address);
  const scheme = /^([a-z]+):\/\//.exec(address)?.[1];
  if (scheme === 'redis' || scheme === 'rediss') return openRedis(address, name);
  if (scheme === 'postgres' || scheme === 'postgresql') return openPostgres(address, name);
  throw new QueueError(`${name}: redis://, rediss:// or postgres:// with a host was expected`);
}

/** An address for messages. */
export function hidePassword(address: string): string {
  return address.replace(/^([a-z]+:\/\/[^:@/]*):[^@/]*@/i, '$1:***@');
}

async function openRedis(address: string, name: string): Promise<QueueServer> {
  const [bullmq, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')]);
  if (!URL.canParse(address) || !new URL(address).hostname)
    throw new QueueError(`${name}: redis://host:port was expected`);
  const first = new Redis(address, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    connectTimeout: firstMilliseconds,
  });
  let failure: Error | undefined;
  first.on('error', (error) => {
    failure = error;
  });
  try {
    await first.connect();
    const [, policy] = (await first.config('GET', 'maxmemory-policy').catch(() => [])) as string[];
    const [, limit] = (await first.config('GET', 'maxmemory').catch(() => [])) as string[];
    if (policy !== undefined && policy !== 'noeviction' && limit !== '0')
      throw new QueueError(
        `${name}: its maxmemory-policy is ${policy}, which evicts jobs when memory is short: set it to noeviction`,
      );
  } catch (error) {
    throw error instanceof QueueError ? error : unreachable(name, failure ?? error);
  } finally {
    first.disconnect();
  }
  const open: { disconnect(): void }[] = [];
  // `maxRetriesPerRequest: null`: requests wait while the server is unreachable, as BullMQ's workers need it.
  const connection = () => {
    const made = new Redis(address, {
      maxRetriesPerRequest: null,
      retryStrategy: (times) => Math.min(50 * 2 ** times, longestPause),
    });
    open.push(quiet(made));
    return made;
  };
  return {
    name,
    queue: (queue) => quiet(new bullmq.Queue(queue, { connection: connection() })) as unknown as Queue,
    events: (queue) => quiet(new bullmq.QueueEvents(queue, { connection: connection() })) as unknown as QueueEvents,
    worker: (queue, processor, more) =>
      quiet(new bullmq.Worker(queue, processor, { ...more, connection: connection() })) as unknown as Worker,
    async close() {
      for (const each of open) each.disconnect();
    },
  };
}

async function openPostgres(address: string, name: string): Promise<QueueServer> {
  const [bullmq, pg] = await Promise.all([import('bullmq'), import('pg')]);
  const first = quiet(new pg.default.Client({ connectionString: address, connectionTimeoutMillis: firstMilliseconds }));
  try {
    await first.connect();
    await bullmq.runMigrations(first as never);
  } catch (error) {
    throw unreachable(name, error);
  } finally {
    await first.end().catch(() => {});
  }
  // BullMQ creates the pools itself, since it sets their search path.
  const connection = { connectionString: address };
  const { createPostgresBackend: backend } = bullmq;
  return {
    name,
    queue: (queue) => quiet(new bullmq.Queue(queue, { connection }, backend)) as unknown as Queue,
    events: (queue) => quiet(new bullmq.QueueEvents(queue, { connection }, backend)) as unknown as QueueEvents,
    worker: (queue, processor, more) =>
      quiet(new bullmq.Worker(queue, processor, { ...more, connection }, backend)) as unknown as Worker,
    close: async () => {},
  };
}

/** An error event without a listener ends the process. Requests report the errors that matter. */
function quiet<T extends { on(event: 'error', listener: (error: Error) => void): unknown }>(made: T): T {
  made.on('error', () => {});
  return made;
}

function unreachable(name: string, error: unknown): QueueError {
  const { code, message } = error as { code?: string; message?: string };
  return new QueueError(
    `${name}: the queue's server cannot be used (${code ?? message}): start it, or check the address, user and password`,
  );
}
