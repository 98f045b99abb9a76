import { hidePassword, openQueueServer, serveQueue } from '@q/distributed';
import type { CommandContext, FlagValues } from '../command.js';
import { createCompute } from '../engine.js';
import { startComputing } from '../queue/computing-process.js';
import { serveComputing } from '../queue/serve-computing.js';

export interface WorkerOptions extends FlagValues {
  readonly store?: string;
  readonly lock?: number;
  readonly engine?: string;
  readonly kernels?: string;
  readonly threads?: number;
  /** This process computes for its parent. */
  readonly compute?: boolean;
}

/**
 * `q worker QUEUE`: takes jobs until it is interrupted. A separate process computes, so this one can always renew the
 * lock of the job; otherwise another worker would get the job.
 */
export async function workerCommand(
  address: string,
  options: WorkerOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const { store, lock = 30 } = options;
  if (options.compute) {
    const compute = await createCompute(options);
    try {
      await serveComputing({ vocabulary, compute, ...(store === undefined ? {} : { store }) });
    } finally {
      await compute.dispose();
    }
    return;
  }
  const server = await openQueueServer(address);
  const computing = startComputing();
  terminal.note(`worker ${process.pid} takes jobs of ${hidePassword(address)}; interrupt it to stop`);
  try {
    await serveQueue({
      ...{ server, signal, lock: 1000 * lock, note: (text) => terminal.note(text) },
      compute: (job) => computing.compute(job),
    });
  } finally {
    computing.close();
    await server.close();
  }
}
