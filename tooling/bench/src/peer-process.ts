import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const cache = process.env.QUANT_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'q');

/** Folder of the peers' scripts. */
export const peerScripts = fileURLToPath(new URL('../peers/', import.meta.url));

/** A Python environment outside of the checkout: one for each set of packages with compatible versions. */
export interface PeerEnvironment {
  /** Name of its folder in the cache. */
  readonly name: string;
  /** File of exact versions. */
  readonly requirements: string;
}

/** PyTorch and transformers alone. */
export const pytorch: PeerEnvironment = { name: 'peers', requirements: join(peerScripts, 'requirements.txt') };
/** Environment with AutoRound. It needs its own versions of PyTorch and transformers. */
export const llmCompressor: PeerEnvironment = {
  name: 'llm-compressor',
  requirements: join(peerScripts, 'llm-compressor.txt'),
};
export const hqq: PeerEnvironment = { name: 'hqq', requirements: join(peerScripts, 'hqq.txt') };
/** The environment of the client check of the same name. Both share one environment if they share a cache. */
export const gptqModel: PeerEnvironment = {
  name: 'gptqmodel',
  requirements: fileURLToPath(new URL('../../clients/gptqmodel/requirements.txt', import.meta.url)),
};

/** Environment variables of every peer: no GPU, no network, one CPU worker for each thread. */
export const peerVariables: Readonly<Record<string, string>> = {
  CUDA_VISIBLE_DEVICES: '',
  HF_HUB_OFFLINE: '1',
  PYTHONDONTWRITEBYTECODE: '1',
  TOKENIZERS_PARALLELISM: 'false',
  // GPTQModel 7.7 gives its pool of CPU workers half of the cores, then needs two of them. On two cores it cannot
  // start.
  GPTQMODEL_CPU_WORKERS: '2',
};

/**
 * Interpreter of an environment. The environment is made if it is absent or has other versions (several GB are
 * downloaded). Undefined if that fails; a line then names the contenders that are left out.
 */
export async function setUpPeers(environment: PeerEnvironment = pytorch): Promise<string | undefined> {
  const present = await findPeers(environment);
  if (present) return present;
  const [folder, stamp, python] = places(environment);
  console.log(`  setting up ${environment.name} in ${folder} …`);
  try {
    await rm(folder, { recursive: true, force: true });
    await mkdir(cache, { recursive: true });
    await run('python3', ['-m', 'venv', folder]);
    await run(python, ['-m', 'pip', 'install', '--quiet', '-r', environment.requirements], { maxBuffer: 1 << 24 });
    await cp(environment.requirements, stamp);
    return python;
  } catch (error) {
    const { message } = error as Error;
    console.log(`  left out: ${environment.name} cannot be installed: ${message.trim().split('\n').at(-1)}`);
    return undefined;
  }
}

/** Interpreter of an environment that is set up; undefined if it is not. */
export async function findPeers(environment: PeerEnvironment = pytorch): Promise<string | undefined> {
  const [, stamp, python] = places(environment);
  const present = await readFile(stamp, 'utf8').catch(() => '');
  return present === (await readFile(environment.requirements, 'utf8')) ? python : undefined;
}

function places({ name }: PeerEnvironment): readonly [folder: string, stamp: string, python: string] {
  const folder = join(cache, name);
  return [folder, join(folder, 'requirements.txt'), join(folder, 'bin', 'python')];
}

/** A program that answers each line with a line. */
export interface PeerServer {
  ask(question: object): Promise<unknown>;
  close(): void;
}

/** Starts `peers/NAME.py` and waits until it is ready. */
export async function startPeer(python: string, name: string, threads: number): Promise<PeerServer> {
  const child: ChildProcessWithoutNullStreams = spawn(python, [join(peerScripts, `${name}.py`), String(threads)], {
    env: { ...process.env, ...peerVariables },
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
