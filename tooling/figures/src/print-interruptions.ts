/**
 * `pnpm figures:interruptions [--kind NAME] [--fault kill,full] [--every N] [--first N] [--until N] [--folder FOLDER]`
 * makes every kind of run die before each of its write operations, and counts the results of the same command
 * afterwards. It exits with 1 if a result has other bytes, and names the file that differs. A FOLDER in memory
 * (/dev/shm) saves the time of syncing. `--kills 100` instead kills real processes of the built command at random
 * moments, 100 in all. `--keep` leaves the first folder that differs, next to the folder of the uninterrupted run.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createRandom } from '@q/core';
import { runKinds } from './interruption-kinds.js';
import { type Fault, faults, interruptRun } from './interruptions.js';
import { killRuns } from './random-kills.js';

const { values } = parseArgs({
  options: {
    kind: { type: 'string' },
    fault: { type: 'string', default: faults.join(',') },
    every: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    until: { type: 'string', default: 'Infinity' },
    folder: { type: 'string' },
    keep: { type: 'boolean', default: false },
    kills: { type: 'string' },
    quiet: { type: 'boolean', default: false },
  },
});
const chosen = runKinds.filter(({ name }) => values.kind === undefined || name === values.kind);
const asked = values.fault.split(',') as Fault[];
const meaning: Record<Fault, string> = {
  kill: 'killed',
  killTwice: 'killed twice',
  torn: 'killed within a write',
  powerCut: 'power cut, not synced is lost',
  namesFirst: 'power cut, names kept',
  full: 'no space left',
};
let failed = false;
const report = (name: string, others: readonly string[], started: number) => {
  for (const other of others.slice(0, 3)) console.error(other);
  console.error(`${name}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
  failed ||= others.length > 0;
};
const folder = values.folder ?? join(tmpdir(), `q-interruptions-${process.pid}`);

if (values.kills !== undefined) {
  console.log('| run | SIGKILLs | folders judged | equal | refused | other |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  const random = createRandom(17);
  for (const [index, kind] of chosen.entries()) {
    const started = performance.now();
    const share = Math.floor((Number(values.kills) + index) / chosen.length);
    const { killed, equal, refused, others } = await killRuns(kind, share, {
      folder,
      random,
      keep: values.keep,
    });
    const judged = equal + refused + others.length;
    console.log(`| ${kind.name} | ${killed} | ${judged} | ${equal} | ${refused} | ${others.length} |`);
    report(kind.name, others, started);
  }
} else {
  console.log('| run | fault | places | states tried | equal | refused | other |');
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const kind of chosen) {
    const started = performance.now();
    const results = await interruptRun(kind, {
      folder,
      faults: asked,
      every: Number(values.every),
      first: Number(values.first),
      until: Number(values.until),
      ...(values.quiet ? {} : { progress: (text) => process.stderr.write(`${text}\n`) }),
    });
    for (const [fault, { places, states, equal, refused, others }] of results)
      console.log(
        `| ${kind.name} | ${meaning[fault]} | ${places} | ${states} | ${equal} | ${refused} | ${others.length} |`,
      );
    report(
      kind.name,
      [...results.values()].flatMap(({ others }) => others.slice(0, 3)),
      started,
    );
  }
}
process.exit(failed ? 1 : 0);
