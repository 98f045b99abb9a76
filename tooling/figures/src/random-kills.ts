import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Random } from '@q/core';
import { differences, folderContent } from './folder-content.js';
import { prepareModel, type RunKind } from './interruption-kinds.js';
import { namesRemedy } from './interruptions.js';

/** The built command, because a separate process starts faster with it than from the sources. */
const bin = fileURLToPath(new URL('../../../packages/cli/dist/bin.js', import.meta.url));

/** The results of processes that were killed at random moments. */
export interface KillOutcomes {
  /** Number of processes that were ended by SIGKILL. */
  killed: number;
  /** Number of folders in which a run ended after kills, with the bytes of an uninterrupted run. */
  equal: number;
  /** Number of runs after a kill that ended with an error which states what to do. */
  refused: number;
  /** Results with other bytes or a foreign error: must stay empty. */
  readonly others: string[];
}

interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly err: string;
  /** Milliseconds from the first output of the process to its end. */
  readonly worked: number;
}

/** @param killAfter milliseconds from the first output of the process; before it nothing has been written */
function runProcess(argv: readonly string[], killAfter?: number): Promise<Ended> {
  const child = spawn(process.execPath, [bin, ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  let began = 0;
  child.stderr.once('data', () => {
    began = performance.now();
    if (killAfter !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfter);
  });
  child.stderr.on('data', (data) => {
    err += data;
  });
  return new Promise((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, err, worked: performance.now() - began })),
  );
}

/**
 * Kills real processes with SIGKILL, each at a random moment of the time that an uninterrupted one works, and starts
 * the same command again in the remaining folder. When a process ends by itself, its folder is checked, and the next
 * one starts in a new folder.
 */
export async function killRuns(
  kind: RunKind,
  kills: number,
  {
    folder,
    random,
    keep = false,
  }: {
    /** The folder is made again. */
    readonly folder: string;
    readonly random: Random;
    /** Keeps `folder` if a result differs: `differs` next to `undisturbed`. */
    readonly keep?: boolean;
  },
): Promise<KillOutcomes> {
  if (!existsSync(bin)) throw new Error('the command is not built: run npm run build first');
  await rm(folder, { recursive: true, force: true });
  const inputs = join(folder, 'inputs');
  const out = join(folder, 'out', 'result');
  await mkdir(inputs, { recursive: true });
  const finish = async (argv: readonly string[]) => {
    const ended = await runProcess(argv);
    if (ended.code !== 0) throw new Error(`${argv.join(' ')}: ${ended.err}`);
    return ended;
  };
  await prepareModel(inputs);
  await kind.prepare?.(inputs, async (argv) => {
    await finish(argv);
  });
  const clear = async () => {
    await rm(dirname(out), { recursive: true, force: true });
    await mkdir(dirname(out));
  };
  await clear();
  const argv = kind.argv(out, inputs);
  const { worked } = await finish(argv);
  const expected = await folderContent(out);
  if (keep) await cp(out, join(folder, 'undisturbed'), { recursive: true });
  await clear();
  const outcomes: KillOutcomes = { killed: 0, equal: 0, refused: 0, others: [] };
  let since = 0;
  while (outcomes.killed < kills || since > 0) {
    const killAfter = outcomes.killed < kills ? worked * random.uniform() : undefined;
    const { signal, code, err } = await runProcess(argv, killAfter);
    if (signal === 'SIGKILL') {
      outcomes.killed++;
      since++;
      continue;
    }
    const found = differences(await folderContent(out), expected);
    if (code === 0 && found.length === 0) outcomes.equal++;
    else if (code !== 0 && namesRemedy(err)) outcomes.refused++;
    else {
      outcomes.others.push(`${kind.name}, after ${since} kills: exit ${code}\n${err.slice(-600)}\n${found.join('\n')}`);
      if (keep && outcomes.others.length === 1) await cp(dirname(out), join(folder, 'differs'), { recursive: true });
    }
    since = 0;
    await clear();
  }
  if (!keep || outcomes.others.length === 0) await rm(folder, { recursive: true, force: true });
  return outcomes;
}
