import { getHeapStatistics } from 'node:v8';
import { createRandom, QuantError } from '@q/core';
import type { FuzzedParser } from './parser.js';

/** A behaviour of a case that no input may cause. */
interface Finding {
  readonly parser: string;
  /** Seed of the case: `pnpm fuzz PARSER --first N --cases 1` runs it again. */
  readonly number: number;
  readonly what: string;
}

export interface FuzzResult {
  readonly cases: number;
  /** Number of cases that were read; then of cases that were refused with an error of the toolkit. */
  readonly read: number;
  readonly refused: number;
  readonly slowest: number;
  readonly findings: readonly Finding[];
}

const mostSeconds = 2;
/** An input may take ten times its size, plus the memory that any input takes. */
const mostTimes = 10;
const slackBytes = 64e6;

/** Bytes of the heap and of the buffers outside of it. `process.memoryUsage` reads a file each time. */
function heldBytes(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}

/** Runs the cases `[first, first + count)` of a parser. The number of a case alone decides its input. */
export async function fuzz(
  parser: FuzzedParser,
  first: number,
  count: number,
  progress?: (done: number, findings: number) => void,
): Promise<FuzzResult> {
  const findings: Finding[] = [];
  let [read, refused, slowest] = [0, 0, 0];
  // Most cases are refused, and making a stack takes longer than many cases.
  const stackFrames = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const runCase = (number: number) => parser.run(createRandom(`${parser.name} ${number}`));
  for (let number = first; number < first + count; number++) {
    const find = (what: string) => findings.push({ parser: parser.name, number, what });
    const before = heldBytes();
    const started = performance.now();
    let bytes = 0;
    try {
      const result = await runCase(number);
      read++;
      bytes = result.bytes;
      for (const values of result.finite ?? []) {
        for (let i = 0; i < values.length; i++)
          if (!Number.isFinite(values[i])) {
            find(`value ${i} of ${values.length} is ${values[i]}`);
            break;
          }
      }
    } catch (error) {
      if (error instanceof QuantError) refused++;
      else find(await foreignError(() => runCase(number), stackFrames));
    }
    const seconds = (performance.now() - started) / 1000;
    slowest = Math.max(slowest, seconds);
    if (seconds > mostSeconds) {
      // A case may take long because the machine is busy, so the same case runs again with its processor time.
      const again = process.cpuUsage();
      await runCase(number).catch(() => {});
      const { user, system } = process.cpuUsage(again);
      if (user + system > 1e6 * mostSeconds) find(`${((user + system) / 1e6).toFixed(1)} s of processor time`);
    }
    const taken = heldBytes() - before;
    if (taken > mostTimes * bytes + slackBytes) find(`${(taken / 1e6).toFixed(0)} MB of memory for ${bytes} bytes`);
    if (progress && (number - first) % 10_000 === 9999) progress(number - first + 1, findings.length);
  }
  Error.stackTraceLimit = stackFrames;
  return { cases: count, read, refused, slowest, findings };
}

/** Runs a case again and returns its error with the stack. */
async function foreignError(run: () => Promise<unknown>, stackFrames: number): Promise<string> {
  Error.stackTraceLimit = stackFrames;
  const error = await run().catch((error: Error) => error);
  Error.stackTraceLimit = 0;
  return `${(error as Error)?.constructor?.name}: ${(error as Error)?.stack?.slice(0, 400) ?? error}`;
}
