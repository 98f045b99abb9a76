import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const scripts = fileURLToPath(new URL('../peers/', import.meta.url));
const cache = process.env.QUANT_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'q');
const environment = join(cache, 'peers');

/**
 * The Python environment of the peers, outside the checkout, with the versions of `peers/requirements.txt`. Made when it is
 * absent or holds others (several GB are downloaded), else returned as it is.
 */
export async function setUpPeers(): Promise<string> {
  const requirements = join(scripts, 'requirements.txt');
  const stamp = join(environment, 'requirements.txt');
  const python = join(environment, 'bin', 'python');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === (await readFile(requirements, 'utf8'))) return python;
  console.log(`Setting up the peers in ${environment} …`);
  await rm(stamp, { force: true });
  await mkdir(cache, { recursive: true });
  await run('python3', ['-m', 'venv', environment]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '-r', requirements], { maxBuffer: 1 << 24 });
  await cp(requirements, stamp);
  return python;
}

/** The interpreter of an environment that is set up; nothing where `pnpm bench peers` has not run. */
export async function findPeers(): Promise<string | undefined> {
  const present = await readFile(join(environment, 'requirements.txt'), 'utf8').catch(() => '');
  return present === (await readFile(join(scripts, 'requirements.txt'), 'utf8'))
    ? join(environment, 'bin', 'python')
    : undefined;
}

/** A program that answers a line with a line. */
export interface PeerServer {
  ask(question: object): Promise<unknown>;
  close(): void;
}

/** Starts `peers/NAME.py` and waits until it is ready. */
export async function startPeer(python: string, name: string, threads: number): Promise<PeerServer> {
  const child: ChildProcessWithoutNullStreams = spawn(python, [join(scripts, `${name}.py`), String(threads)], {
    env: { ...process.env, CUDA_VISIBLE_DEVICES: '', PYTHONDONTWRITEBYTECODE: '1' },
  });
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${name}.py ended: ${errors.slice(-400)}`);
    return JSON.parse(value) as unknown;
  };
  await answer();
  return {
    ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return answer();
    },
    close: () => child.kill(),
  };
}
