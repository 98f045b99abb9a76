import type { Exchange } from './exchange.js';

/**
 * Exchanges of workers in one process, for tests and simulations. A call ends when all workers have called.
 * @param tamper changes the message of a worker, by the number of the call, to simulate a faulty network
 */
export function createLoopback(
  workers: number,
  tamper: (message: Uint8Array, rank: number, call: number) => Uint8Array = (message) => message,
): Exchange[] {
  let waiting: { rank: number; message: Uint8Array; resolve: (all: Uint8Array[]) => void }[] = [];
  let calls = 0;
  return Array.from({ length: workers }, (_, rank) => ({
    rank,
    workers,
    allGather: (message) =>
      new Promise((resolve) => {
        waiting.push({ rank, message, resolve });
        if (waiting.length < workers) return;
        const arrived = waiting.sort((a, b) => a.rank - b.rank);
        const all = arrived.map((each) => tamper(each.message, each.rank, calls));
        calls++;
        waiting = [];
        for (const each of arrived) each.resolve(all);
      }),
  }));
}
