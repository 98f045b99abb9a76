import { objectName, type Store, sumOfParts } from '../store/store.js';
import { defaultQueueName, type Job, type JobData, queueId, type RunDescription } from './job.js';
import { QueueError } from './queue-error.js';
import type { QueueServer } from './queue-server.js';

export interface CoordinatorOptions {
  readonly server: QueueServer;
  readonly store: Store;
  /** The store's address, for workers without another one. */
  readonly storeAddress: string;
  readonly run: RunDescription;
  readonly queueName?: string;
  /** Called with messages for the user while it waits: no worker has connected, or one was rejected. */
  readonly note?: (text: string) => void;
  readonly signal?: AbortSignal;
  /** Milliseconds without an answer of the queue's server after which the run stops. Default 5 minutes. */
  readonly patience?: number;
  /** Milliseconds between checks of a job that is waited for, in case the server sends no event. Default 2 s. */
  readonly interval?: number;
}

/** Adds jobs to a queue and gets their results from the store. */
export interface Coordinator {
  /** Adds the jobs whose results are not in the store. Returns when the queue has them. */
  add(jobs: readonly Job[]): Promise<void>;
  /**
   * The result of an added job: the bytes that a worker published.
   * @throws QueueError when all attempts of workers have failed, with the last reason; or when the server is
   *   unreachable for too long
   */
  result(job: Job): Promise<Uint8Array>;
  /** Removes a result that cannot be used, and adds its job again. */
  again(job: Job): Promise<void>;
  /** Removes the jobs that no worker has begun from the queue, and leaves it. */
  close(): Promise<void>;
}

/** Number of attempts for a job that fails; each pause is twice the one before: 0.5 s to 4 s. */
const attempts = 5;
const firstPause = 500;

/** Jobs that are added with one request. */
const bulk = 500;

/** Time without a worker after which a note says so. */
const lonelyMilliseconds = 15_000;

export async function openCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { server, store, storeAddress, run, note = () => {}, signal } = options;
  const { queueName = defaultQueueName, patience = 300_000, interval = 2000 } = options;
  const text = JSON.stringify(run);
  const runName = objectName('runs', sumOfParts(text));
  await store.publish(runName, new TextEncoder().encode(text));
  const queue = server.queue(queueName);
  const events = server.events(queueName);
  const wakers = new Map<string, () => void>();
  const added = new Map<string, Job>();
  const idOf = (job: Job) => queueId(job, storeAddress);
  const told = new Set<string>();
  const finished = new Set<string>();
  const wake = ({ jobId }: { jobId: string }) => {
    finished.add(jobId);
    wakers.get(jobId)?.();
  };
  events.on('completed', wake);
  events.on('failed', wake);
  events.on('progress', ({ data }) => {
    const refused = (data as { refused?: unknown })?.refused;
    if (typeof refused !== 'string' || told.has(refused)) return;
    told.add(refused);
    note(refused);
  });

  /** A request with a time limit. While the server is unreachable, requests wait for it. */
  const answered = async <T>(request: Promise<T>): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new QueueError(`${server.name}: has not answered for ${Math.round(patience / 1000)} s`)),
        patience,
      );
      onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort);
    });
    try {
      return await Promise.race([request, late]);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof QueueError) throw error;
      throw new QueueError(`${server.name}: ${(error as Error).message}`);
    } finally {
      clearTimeout(timer);
      if (onAbort) signal?.removeEventListener('abort', onAbort);
      request.catch(() => {});
    }
  };

  const push = (jobs: readonly Job[]) =>
    answered(
      queue.addBulk(
        jobs.map((job) => ({
          name: run.kind,
          data: { ...job, run: runName, store: storeAddress } satisfies JobData,
          opts: {
            ...{ jobId: idOf(job), attempts, backoff: { type: 'exponential', delay: firstPause } },
            // A finished job frees its id: the store says which jobs are done.
            ...{ removeOnComplete: true, removeOnFail: false },
          },
        })),
      ),
    );

  /** Removes the failure of an earlier run: a job whose id exists is not added. */
  const forget = async (job: Job) => {
    const found = await answered(queue.getJob(idOf(job)));
    if (found && ['failed', 'completed'].includes(await answered(found.getState()))) await answered(found.remove());
  };

  let lastWorker = Date.now();
  const lookForWorkers = async () => {
    const count = await answered(queue.getWorkersCount()).catch(() => 1);
    if (count > 0) {
      lastWorker = Date.now();
      return;
    }
    if (Date.now() - lastWorker < lonelyMilliseconds) return;
    lastWorker = Date.now() + 4 * lonelyMilliseconds;
    note(`no worker is at ${server.name}: start some with q worker`);
  };

  const add = async (jobs: readonly Job[]) => {
    const failed = new Set((await answered(queue.getFailed())).map((job) => job?.id));
    for (let begin = 0; begin < jobs.length; begin += bulk) {
      const missing: Job[] = [];
      for (const job of jobs.slice(begin, begin + bulk)) {
        signal?.throwIfAborted();
        if (await store.has(objectName('results', job.id))) continue;
        if (failed.has(idOf(job))) await forget(job);
        missing.push(job);
      }
      if (missing.length > 0) await push(missing);
      for (const job of missing) added.set(idOf(job), job);
    }
  };

  /** @throws QueueError when the job has failed finally */
  const check = async (job: Job) => {
    const found = await answered(queue.getJob(idOf(job)));
    const state = found && (await answered(found.getState()));
    if (found && state === 'failed') {
      if (await store.has(objectName('results', job.id))) return;
      throw new QueueError(`${job.unit}: ${found.failedReason}`);
    }
    // The server has lost the job, or a worker has finished it although the store has no result.
    if ((!found || state === 'unknown' || state === 'completed') && !(await store.has(objectName('results', job.id)))) {
      if (found) await forget(job);
      // A server that has lost one job has often lost all of them; existing jobs are not added twice.
      await add([...added.values()]);
    }
  };

  return {
    add,
    async result(job) {
      const name = objectName('results', job.id);
      const id = idOf(job);
      for (let looks = 0; ; looks++) {
        signal?.throwIfAborted();
        const bytes = await store.read(name);
        if (bytes) {
          added.delete(id);
          finished.delete(id);
          return bytes;
        }
        if (looks > 0) await check(job);
        await lookForWorkers();
        // The event may have arrived during the check of the store.
        if (finished.delete(id)) continue;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, interval);
          function done() {
            clearTimeout(timer);
            wakers.delete(id);
            signal?.removeEventListener('abort', done);
            resolve();
          }
          wakers.set(id, done);
          signal?.addEventListener('abort', done);
        });
      }
    },
    async again(job) {
      await store.remove(objectName('results', job.id));
      await forget(job);
      await push([job]);
      added.set(idOf(job), job);
    },
    async close() {
      const tidy = async () => {
        // A job that a worker has begun is locked and stays; its result is published anyway.
        for (const id of added.keys()) await queue.remove(id).catch(() => {});
        await Promise.allSettled([events.close(), queue.close()]);
      };
      // Waiting for an unreachable server must not keep the process alive.
      await Promise.race([tidy().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 5000).unref())]);
    },
  };
}
