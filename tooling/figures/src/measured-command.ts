import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ownBin = fileURLToPath(new URL('../../../packages/cli/dist/bin.js', import.meta.url));

export interface MeasuredCommand {
  /** Seconds, with the start of the process. */
  readonly seconds: number;
  /** Processor seconds of all its threads, up to 20 ms before its end. NaN if /proc is absent. */
  readonly processorSeconds: number;
  /** Peak resident memory in bytes: the kernel's own high-water mark. NaN if /proc is absent. */
  readonly peakBytes: number;
  readonly out: string;
}

/**
 * Runs the built command in a separate process. Throws with its messages when it fails.
 * @param bin the command of another checkout
 */
export async function measureCommand(argv: readonly string[], bin = ownBin): Promise<MeasuredCommand> {
  const started = performance.now();
  const child = spawn(process.execPath, [bin, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err, peak, processor] = ['', '', Number.NaN, Number.NaN];
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    err += data;
  });
  const timer = setInterval(() => {
    try {
      const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
      if (found) peak = 1024 * Number(found[1]);
      // The fields come after the name, which may contain spaces. User and system time are fields 14 and 15, in
      // hundredths of a second.
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      processor = (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      // The process ended between two readings, or this is not Linux.
    }
  }, 20);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`q ${argv.join(' ')} ended with ${code}: ${err}`);
  return { seconds: (performance.now() - started) / 1000, processorSeconds: processor, peakBytes: peak, out };
}
