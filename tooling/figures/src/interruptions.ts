import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { main } from '@q/cli';
import { createRandom } from '@q/core';
import {
  crashStates,
  type Disk,
  dyingFiles,
  type FileSystem,
  fullFiles,
  nodeFiles,
  recordingFiles,
  type Survivors,
} from '@q/durable-files';
import { differences, folderContent, sum } from './folder-content.js';
import { prepareModel, type RunKind } from './interruption-kinds.js';

/** The outcome of the same command after a run had died. */
export interface Outcomes {
  /** Number of operations before which the run died. */
  readonly places: number;
  /** Number of different states of the disk among them. Each was tried once. */
  readonly states: number;
  /** Results with the bytes of an uninterrupted run. */
  equal: number;
  /** Results with an error that states what to do. */
  refused: number;
  /** Results with other bytes or a foreign error: must stay empty. */
  readonly others: string[];
}

/** `killTwice`: the run that continues is killed too, before an operation that is drawn for each place. */
export const faults = ['kill', 'killTwice', 'torn', 'powerCut', 'namesFirst', 'full'] as const;
export type Fault = (typeof faults)[number];

const survivors: Record<Exclude<Fault, 'full'>, Survivors> = {
  kill: 'kill',
  killTwice: 'kill',
  torn: 'torn',
  powerCut: 'powerCut',
  namesFirst: 'namesFirst',
};

interface Ended {
  readonly code: number;
  readonly err: string;
}

async function run(argv: readonly string[], files: FileSystem = nodeFiles): Promise<Ended> {
  let err = '';
  const streams = { out: { write: () => {} }, err: { write: (text: string) => (err += text) } };
  return { code: await main(argv, streams, new AbortController().signal, files), err };
}

async function lay(disk: Disk): Promise<void> {
  for (const [path, content] of disk) {
    if (content) await writeFile(path, content);
    else await mkdir(path, { recursive: true });
  }
}

/** Whether an error states what to do, and is not an error of a library or of the machine. */
export const namesRemedy = (err: string) => /remove|choose|give|put|free/.test(err) && !err.includes('unexpected:');

const stateOf = (disk: Disk) =>
  sum([...disk].map(([path, content]) => `${path} ${content ? sum(content) : 'folder'}`).join('\n'));

export interface InterruptionOptions {
  /** Folder for all files; it is made again. */
  readonly folder: string;
  readonly faults: readonly Fault[];
  /** Tries every n-th of all places. */
  readonly every?: number;
  /** Number of the first place. */
  readonly first?: number;
  /** Number after the last place. */
  readonly until?: number;
  readonly progress?: (text: string) => void;
}

/**
 * Makes a kind of run die before each of its write operations, and runs the same command again.
 * @returns the counts of equal, refused and other results, by fault
 */
export async function interruptRun(kind: RunKind, options: InterruptionOptions): Promise<ReadonlyMap<Fault, Outcomes>> {
  const { folder, every = 1, first = 0, until = Number.POSITIVE_INFINITY, progress = () => {} } = options;
  await rm(folder, { recursive: true, force: true });
  const inputs = join(folder, 'inputs');
  const out = join(folder, 'out', 'result');
  await mkdir(inputs, { recursive: true });
  await prepareModel(inputs);
  await kind.prepare?.(inputs, async (argv) => {
    const { code, err } = await run(argv);
    if (code !== 0) throw new Error(`${argv.join(' ')}: ${err}`);
  });
  const argv = kind.argv(out, inputs);
  const clear = async () => {
    await rm(dirname(out), { recursive: true, force: true });
    await mkdir(dirname(out));
  };
  await clear();
  const recording = recordingFiles(nodeFiles);
  const undisturbed = await run(argv, recording.files);
  if (undisturbed.code !== 0) throw new Error(`${kind.name}: ${undisturbed.err}`);
  const expected = await folderContent(out);
  const shards = [...expected.keys()].filter((name) => name.endsWith('.safetensors')).length;
  if (kind.shards !== undefined && shards !== kind.shards)
    throw new Error(`${kind.name}: the run makes ${shards} weight files, ${kind.shards} were expected`);
  const { operations } = recording;

  const judge = async (outcomes: Outcomes, place: string): Promise<void> => {
    const { code, err } = await run(argv);
    const found = differences(await folderContent(out), expected);
    if (code === 0 && found.length === 0) outcomes.equal++;
    else if (code !== 0 && namesRemedy(err)) outcomes.refused++;
    else outcomes.others.push(`${kind.name}, ${place}: exit ${code}\n${err.slice(-600)}\n${found.join('\n')}`);
  };

  const results = new Map<Fault, Outcomes>();
  for (const fault of options.faults) {
    const outcomes: Outcomes = { places: 0, states: 0, equal: 0, refused: 0, others: [] };
    const count = { places: 0, states: 0 };
    if (fault === 'full') {
      for (let at = first; at < Math.min(operations.length, until); at += every) {
        count.places++;
        count.states++;
        await clear();
        const { code, err } = await run(argv, fullFiles(nodeFiles, at));
        if (code !== 0 && !err.includes('no space left'))
          outcomes.others.push(`${kind.name}, full at ${at}: exit ${code}\n${err.slice(-600)}`);
        await judge(outcomes, `full at ${at}`);
        progress(`${kind.name}: full at ${at} of ${operations.length}`);
      }
    } else {
      const seen = new Map<string, 'equal' | 'refused' | 'other'>();
      const again = fault === 'killTwice' ? createRandom(kind.name) : undefined;
      let at = -1;
      for (const disk of crashStates(operations, survivors[fault])) {
        // It is drawn for every place, so a place that is tried alone is tried in the same way as among all places.
        const second = again?.integer(operations.length);
        if (++at >= until) break;
        if (at < first || (at - first) % every !== 0) continue;
        count.places++;
        const state = stateOf(disk);
        const known = seen.get(state);
        if (known) {
          if (known !== 'other') outcomes[known]++;
          continue;
        }
        count.states++;
        await clear();
        await lay(disk);
        if (second !== undefined) await run(argv, dyingFiles(nodeFiles, second));
        const before = { ...outcomes };
        await judge(outcomes, `${fault} before ${at}${second === undefined ? '' : `, then before ${second}`}`);
        seen.set(
          state,
          outcomes.equal > before.equal ? 'equal' : outcomes.refused > before.refused ? 'refused' : 'other',
        );
        progress(`${kind.name}: ${fault} before ${at} of ${operations.length}`);
      }
    }
    results.set(fault, { ...outcomes, ...count });
  }
  await rm(folder, { recursive: true, force: true });
  return results;
}
