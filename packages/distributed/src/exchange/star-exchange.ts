import type { Exchange } from '@q/gradients';
import type { Connection } from './connection.js';
import { readRound, writeRound } from './frames.js';

export interface StarExchangeOptions {
  /** Longest time to wait for a worker, in milliseconds. Default 10 minutes: a step of a large model. */
  readonly patience?: number;
}

const tenMinutes = 600_000;

/**
 * The exchange of worker 0, which collects the messages of all workers and sends them to all. A worker that ends or is
 * silent ends the run on all workers, with its number in the message.
 * @param connections to workers 1, 2, ..., in this order
 */
export function hubExchange(
  connections: readonly Connection[],
  { patience = tenMinutes }: StarExchangeOptions = {},
): Exchange & { close(reason?: string): Promise<void> } {
  const stop = async (reason: string) => {
    await Promise.allSettled(connections.map((each) => each.send(writeRound({ stopped: reason }))));
    for (const each of connections) each.close();
  };
  return {
    rank: 0,
    workers: connections.length + 1,
    async allGather(message) {
      try {
        const others = await Promise.all(connections.map((each) => each.receive(patience)));
        const messages = [message, ...others];
        const round = writeRound({ messages });
        await Promise.all(connections.map((each) => each.send(round)));
        return messages;
      } catch (error) {
        await stop((error as Error).message);
        throw error;
      }
    },
    async close(reason) {
      if (reason !== undefined) await stop(reason);
      else for (const each of connections) each.close();
    },
  };
}

/** The exchange of any other worker. */
export function memberExchange(
  rank: number,
  workers: number,
  connection: Connection,
  { patience = tenMinutes }: StarExchangeOptions = {},
): Exchange & { close(): Promise<void> } {
  return {
    rank,
    workers,
    async allGather(message) {
      await connection.send(message);
      return readRound(await connection.receive(patience), workers);
    },
    async close() {
      connection.close();
    },
  };
}
