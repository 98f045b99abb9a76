import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type Coordinator,
  openCoordinator,
  openQueueServer,
  openStore,
  type RunDescription,
  type Store,
} from '@q/distributed';
import type { CommandContext, FlagValues } from '../command.js';
import { UsageError } from '../usage-error.js';

export interface QueueFlags {
  /** Address of the queue. */
  readonly queue?: string;
  /** Address of weights and results. */
  readonly store?: string;
}

/** The connection of a command with workers. */
export interface QueueRun {
  readonly store: Store;
  readonly command: CommandContext;
  /** A coordinator of jobs of one kind. The caller closes it. */
  coordinate(run: RunDescription): Promise<Coordinator>;
  /** Leaves the server. A store that was made only for this run is removed after the run is finished. */
  close(finished: boolean): Promise<void>;
}

/** Folders of a store: see `objectName`. */
const storeFolders = ['tensors', 'results', 'runs', 'partial'];

/**
 * Opens queue and store, before anything is written.
 * @returns undefined without `--queue`
 * @throws UsageError, QueueError, StoreError
 */
export async function openQueueRun(
  out: string,
  { queue, store: given, adapter }: QueueFlags & FlagValues,
  command: CommandContext,
): Promise<QueueRun | undefined> {
  if (queue === undefined) {
    if (given !== undefined) throw new UsageError('--store goes with --queue: give the address of the queue too');
    return undefined;
  }
  if (adapter !== undefined)
    throw new UsageError('--adapter with --queue: merge the adapter into a folder of its own first (q cast)');
  const own = `${resolve(out)}.store`;
  const address = given === undefined ? own : given.startsWith('s3://') ? given : resolve(given);
  // The server comes first: without a queue no store is made.
  const server = await openQueueServer(queue);
  const store = await openStore(address, { make: true });
  const { terminal, signal } = command;
  return {
    store,
    command,
    coordinate: (run) =>
      openCoordinator({
        ...{ server, store, storeAddress: address, run, signal },
        note: (text) => terminal.note(`note: ${text}`),
      }),
    async close(finished) {
      await server.close();
      if (!finished || given !== undefined) return;
      for (const name of storeFolders) await rm(join(own, name), { recursive: true, force: true });
      await rm(own, { recursive: true, force: true });
    },
  };
}
