import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

/** The machine on which the figures were measured. */
export interface Machine {
  readonly processor: string;
  readonly threads: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly platform: string;
  /** Mean number of running processes during the last minute, at the start. */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    load: Math.round(100 * loadavg()[0]) / 100,
  };
}
