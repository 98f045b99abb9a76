import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom } from '@q/core';
import { awaitWorkers, hubExchange, joinWorkers, type MeetingPlace, memberExchange, WorkerError } from '@q/distributed';
import { createTrainingGroup, type Exchange, type GradientCompressor } from '@q/gradients';
import { type Recipe, recipeJSON, type WorkerGroup } from '@q/pipeline';
import { compressions } from './registry.js';
import { UsageError } from './usage-error.js';
import { version } from './version.js';

/** The environment variable with the secret of workers on several machines. */
const tokenVariable = 'Q_WORKERS_TOKEN';

export interface WorkerFlags {
  readonly workers?: number;
  readonly compress?: string;
  /** `host:port` that worker 0 listens at for workers on other machines; it starts none itself. */
  readonly listen?: string;
  /** Address of worker 0: this process joins the training, and writes nothing. */
  readonly join?: string;
  readonly threads?: number;
}

/** The settings of workers that decide the bytes of the result. */
export const workersIdentity = ({ workers, compress }: WorkerFlags) => `${workers} workers, ${compress ?? 'none'}`;

function compressorOf(name = 'none'): GradientCompressor {
  const found = compressions.find((each) => each.name === name);
  if (!found)
    throw new UsageError(`--compress ${name}: ${compressions.map((each) => each.name).join(', ')} was expected`);
  return found.make();
}

/** All workers of a run have the same value here; others are rejected. */
function runOf(recipe: Recipe, flags: WorkerFlags): string {
  const parts = [version, workersIdentity(flags), recipeJSON(recipe)];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/**
 * Worker 0: starts the others on this machine, or waits for those on other machines at `--listen`.
 * @throws WorkerError when some do not connect in time, or one of them ends
 */
export async function beginWorkers(recipe: Recipe, flags: WorkerFlags, signal: AbortSignal): Promise<WorkerGroup> {
  const { workers = 1, listen } = flags;
  const compressor = compressorOf(flags.compress);
  const folder = listen === undefined ? await mkdtemp(join(tmpdir(), 'q-workers-')) : undefined;
  const place: MeetingPlace =
    listen !== undefined
      ? addressOf('--listen', listen)
      : {
          path:
            process.platform === 'win32'
              ? `\\\\.\\pipe\\q-${randomBytes(8).toString('hex')}`
              : join(folder as string, 'socket'),
        };
  const token = process.env[tokenVariable] ?? (listen === undefined ? randomBytes(16).toString('hex') : undefined);
  if (!token)
    throw new UsageError(`--listen ${listen}: set ${tokenVariable} to a secret, the same one for all workers`);
  const ended = new AbortController();
  const children = folder === undefined ? [] : startWorkers(workers, place, token, flags, ended);
  const tidy = async () => {
    for (const child of children) child.removeAllListeners('exit');
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    const patience = listen === undefined ? 120_000 : 600_000;
    const waiting = AbortSignal.any([signal, ended.signal]);
    const run = runOf(recipe, flags);
    const hub = hubExchange(await awaitWorkers(workers, { place, token, run, patience, signal: waiting }));
    return groupOf(hub, compressor, recipe.seed, async (reason) => {
      await hub.close(reason);
      await tidy();
    });
  } catch (error) {
    for (const child of children) child.kill();
    await tidy();
    throw error;
  }
}

/** Any other worker: joins worker 0. */
export async function joinTraining(recipe: Recipe, flags: WorkerFlags, signal: AbortSignal): Promise<WorkerGroup> {
  const at = flags.join as string;
  const place: MeetingPlace = /^[\w.-]+:\d+$/.test(at) ? addressOf('--join', at) : { path: at };
  const token = process.env[tokenVariable];
  if (!token) throw new UsageError(`--join ${at}: set ${tokenVariable} to the secret of worker 0`);
  const { rank, workers, connection } = await joinWorkers({ place, token, run: runOf(recipe, flags), signal });
  const member = memberExchange(rank, workers, connection);
  return groupOf(member, compressorOf(flags.compress), recipe.seed, () => member.close());
}

function groupOf(
  exchange: Exchange,
  compressor: GradientCompressor,
  seed: number | string,
  close: (reason?: string) => Promise<void>,
): WorkerGroup {
  return {
    group: createTrainingGroup({ compressor, exchange, random: createRandom(seed).fork('gradients') }),
    broadcast: async (bytes = new Uint8Array(0)) => (await exchange.allGather(bytes))[0],
    close,
  };
}

/** The same command again, with the address of worker 0; the processors are shared. */
function startWorkers(
  workers: number,
  place: MeetingPlace,
  token: string,
  { threads }: WorkerFlags,
  ended: AbortController,
): ChildProcess[] {
  const [, script, ...words] = process.argv;
  const share =
    threads === undefined ? ['--threads', `${Math.max(1, Math.floor(availableParallelism() / workers))}`] : [];
  return Array.from({ length: workers - 1 }, (_, i) => {
    const child = spawn(
      process.execPath,
      [...process.execArgv, script, ...words, ...share, '--join', (place as { path: string }).path],
      { env: { ...process.env, [tokenVariable]: token }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr?.on('data', (chunk) => {
      said = `${said}${chunk}`.slice(-2000);
    });
    child.on('exit', (code, signal) => {
      const last = said.trim().split('\n').at(-1) ?? '';
      ended.abort(
        new WorkerError(`worker ${i + 1} ended with ${signal ?? `exit code ${code}`} before the training: ${last}`),
      );
    });
    return child;
  });
}

function addressOf(flag: string, text: string): MeetingPlace {
  const [, host, port] = /^([\w.-]+):(\d+)$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65535) throw new UsageError(`${flag} ${text}: host:port was expected`);
  return { host, port: Number(port) };
}
