/**
 * `pnpm figures:interruptions [--kind NAME] [--fault kill,full] [--every N]`: lets every kind of run die before each of its
 * write operations, and counts what the same command does afterwards. Exits with 1 when it ever gives other bytes.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runKinds } from './interruption-kinds.js';
import { type Fault, faults, interruptRun } from './interruptions.js';

const { values } = parseArgs({
  options: {
    kind: { type: 'string' },
    fault: { type: 'string', default: faults.join(',') },
    every: { type: 'string', default: '1' },
    quiet: { type: 'boolean', default: false },
  },
});
const chosen = runKinds.filter(({ name }) => values.kind === undefined || name === values.kind);
const asked = values.fault.split(',') as Fault[];
const meaning: Record<Fault, string> = {
  kill: 'killed',
  powerCut: 'power cut: what was not synced is lost',
  namesFirst: 'power cut: names kept, data that was not synced reads as zeros',
  full: 'no space left',
};
console.log('| run | fault | places | states tried | equal | refused | other |');
console.log('| --- | --- | --- | --- | --- | --- | --- |');
let failed = false;
for (const kind of chosen) {
  const started = performance.now();
  const results = await interruptRun(kind, {
    folder: join(tmpdir(), `q-interruptions-${process.pid}`),
    faults: asked,
    every: Number(values.every),
    ...(values.quiet ? {} : { progress: (text) => process.stderr.write(`${text}\n`) }),
  });
  for (const [fault, { places, states, equal, refused, others }] of results) {
    console.log(
      `| ${kind.name} | ${meaning[fault]} | ${places} | ${states} | ${equal} | ${refused} | ${others.length} |`,
    );
    for (const other of others.slice(0, 3)) console.error(other);
    failed ||= others.length > 0;
  }
  console.error(`${kind.name}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
}
process.exit(failed ? 1 : 0);
