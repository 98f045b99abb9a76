import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Contender } from './benchmark.js';

/** A program with its arguments. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** Variables that are added to those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a program to its end and returns its peak resident memory in bytes: the kernel's high-water mark, read until the
 * process has ended. Undefined if there is no /proc. Programs that it starts are not counted.
 * @throws Error with the end of its output when it does not end with 0
 */
export async function runMeasured({ file, args, env }: Command): Promise<number | undefined> {
  // GPTQModel writes logs to its working folder, which must not be the checkout.
  const options = { cwd: tmpdir(), env: { ...process.env, ...env } };
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const listen = (text: Buffer) => {
    said = (said + text).slice(-2000);
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  let peak: number | undefined;
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    peak = highWaterMark(statusOf(child.pid)) ?? peak;
    // Readings are frequent at first, for programs that end soon, and rare later, because reading takes time from the
    // program.
    timer = setTimeout(look, Math.min(100, 2 + (performance.now() - started) / 50));
  };
  look();
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${code}: ${said}`);
  } finally {
    clearTimeout(timer);
  }
  return peak;
}

function statusOf(pid: number | undefined): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // The process has ended, has not begun, or this is not Linux.
    return '';
  }
}

/** Peak resident memory in bytes from the text of /proc/PID/status. */
export function highWaterMark(status: string): number | undefined {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(status);
  return found ? 1024 * Number(found[1]) : undefined;
}

/** A contender that runs as a separate process, from its start to its end. `command` is called for each run. */
export function processContender(name: string, command: () => Command, peer = false): Contender {
  let peak: number | undefined;
  return {
    name,
    peer,
    async run() {
      const own = await runMeasured(command());
      peak = own === undefined ? peak : Math.max(own, peak ?? 0);
    },
    get peakBytes() {
      return peak;
    },
  };
}
