/** Passes messages between workers: threads, processes or hosts. */
export interface Exchange {
  /** Number of this worker, from 0. */
  readonly rank: number;
  readonly workers: number;
  /**
   * Sends a message to all others and waits for theirs.
   * @returns the messages of all workers in the order of their ranks, `message` included
   * @throws any error that says that a worker has ended; the training stops at its last checkpoint
   */
  allGather(message: Uint8Array): Promise<readonly Uint8Array[]>;
}

/** The exchange of a training on one worker: it sends nothing. */
export const alone: Exchange = { rank: 0, workers: 1, allGather: async (message) => [message] };
