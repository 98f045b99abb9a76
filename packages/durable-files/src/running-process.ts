import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';

/** Identifies a process, also after the system has given its number to another one. */
export interface ProcessIdentity {
  readonly host: string;
  readonly pid: number;
  /** Changes when the number is used again or the machine restarts; empty if the system does not provide it. */
  readonly started: string;
}

/** This process. */
export const thisProcess = async (): Promise<ProcessIdentity> => ({
  host: hostname(),
  pid: process.pid,
  started: await startOf(process.pid),
});

/** Whether a process of this machine still runs; undefined for a process of another machine. */
export async function isRunning({ host, pid, started }: ProcessIdentity): Promise<boolean | undefined> {
  if (host !== hostname()) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it runs, for another user.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = await startOf(pid);
  return started === '' || now === '' || now === started;
}

/** Linux: the boot, and the ticks from there to the start of the process (field 22 of proc(5) stat). */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    // The name of the program, in brackets, may itself have blanks and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return `${boot.trim()} ${fields[19]}`;
  } catch {
    return '';
  }
}
