import { hostname } from 'node:os';
import type { Job as BullJob } from 'bullmq';
import { defaultQueueName, type JobData } from './job.js';
import { RefusedRunError } from './queue-error.js';
import type { QueueServer } from './queue-server.js';

export interface QueueWorkerOptions {
  readonly server: QueueServer;
  readonly queueName?: string;
  /**
   * Computes a job and publishes its result. It must not block the event loop, which renews the lock: do heavy work in
   * another process.
   * @throws RefusedRunError when this worker must not take part in the run
   */
  readonly compute: (job: JobData) => Promise<void>;
  /** Milliseconds without a renewal after which a worker's job is given to another. Default 30 s. */
  readonly lock?: number;
  readonly note?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Number of times that a job may lose its worker. Five: workers that are killed at random rarely have the same job so
 * often; a job that kills each of them is given up.
 */
const stalls = 5;

/**
 * Takes jobs until the signal is aborted; it finishes the current job first.
 * @throws RefusedRunError when this worker must not serve a run
 */
export async function serveQueue(options: QueueWorkerOptions): Promise<void> {
  const { server, queueName = defaultQueueName, compute, lock = 30_000, note = () => {}, signal } = options;
  const { WaitingError } = await import('bullmq');
  let refusal: RefusedRunError | undefined;
  let refuse: () => void = () => {};
  const refused = new Promise<void>((resolve) => {
    refuse = resolve;
  });
  const process = async (job: BullJob<JobData>, token?: string): Promise<void> => {
    try {
      await compute(job.data);
      note(`${job.data.unit}: done`);
    } catch (error) {
      const text = (error as Error).message;
      if (!(error instanceof RefusedRunError)) {
        note(`${job.data.unit}: ${text}`);
        // The reason includes the worker's name, since the fault is often in the machine.
        throw new Error(`${hostname()}: ${text}`);
      }
      refusal = error;
      await job.updateProgress({ refused: `a worker on ${hostname()} was rejected: ${text}` }).catch(() => {});
      await job.moveToWait(token);
      refuse();
      throw new WaitingError();
    }
  };
  const worker = server.worker(queueName, process, {
    ...{ concurrency: 1, lockDuration: lock, stalledInterval: lock, maxStalledCount: stalls },
    name: `${hostname()} ${globalThis.process.pid}`,
  });
  try {
    await Promise.race([
      refused,
      new Promise<void>((resolve) => {
        if (signal?.aborted) resolve();
        signal?.addEventListener('abort', () => resolve());
      }),
    ]);
  } finally {
    await worker.close();
  }
  if (refusal) throw refusal;
}
