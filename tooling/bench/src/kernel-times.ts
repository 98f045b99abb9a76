import type { Kernels } from '@q/core';

/** Kernels that count the processor time, of all threads, during each of their asynchronous operations. */
export interface TimedKernels {
  readonly kernels: Kernels;
  /**
   * Milliseconds by operation since the last call; the time outside of all operations is `rest`. Then the counts start
   * from 0.
   */
  take(): Readonly<Record<string, number>>;
}

const operations = [
  'matmul',
  'gram',
  'cholesky',
  'triangularSolve',
  'gptqBlock',
  'rowErrors',
  'hadamard',
  'matmulInt8',
] as const;

export function timedKernels(inner: Kernels): TimedKernels {
  let spent: Record<string, number> = {};
  let began = process.cpuUsage();
  const since = (start: NodeJS.CpuUsage): number => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
  const timed = (name: (typeof operations)[number]) => async (args: never) => {
    const start = process.cpuUsage();
    try {
      return await (inner[name] as (args: never) => Promise<unknown>)(args);
    } finally {
      spent[name] = (spent[name] ?? 0) + since(start);
    }
  };
  return {
    kernels: { ...inner, ...Object.fromEntries(operations.map((name) => [name, timed(name)])) },
    take() {
      const rest = since(began) - Object.values(spent).reduce((sum, time) => sum + time, 0);
      const taken = { ...spent, rest };
      spent = {};
      began = process.cpuUsage();
      return taken;
    },
  };
}
