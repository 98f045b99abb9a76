/**
 * `pnpm bench [NAME ...] [--title PATTERN] [--only PATTERN] [--rounds n] [--cpu] [--check]` runs the named benchmarks of
 * `src/benchmarks`, or all of them. `--title` keeps the comparisons whose titles match a regular expression, and
 * `--only` the contenders whose names do. `--cpu` counts the processor time of the process instead of wall time, for
 * work on one thread on a busy machine. It prints the machine and a table for each comparison; figures go to
 * `.reports/bench-NAME.json`.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Benchmark, Comparison } from './benchmark.js';
import { describeMachine } from './machine.js';
import { type Measurement, measure } from './measure.js';
import { onlyMatching } from './only-matching.js';
import { formatComparison, shortfalls } from './table.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    only: { type: 'string' },
    title: { type: 'string' },
    check: { type: 'boolean', default: false },
    cpu: { type: 'boolean', default: false },
  },
});
const folder = new URL('./benchmarks/', import.meta.url);
const known = (await readdir(folder))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => basename(file, '.ts'))
  .sort();
const unknown = positionals.filter((name) => !known.includes(name));
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
if (unknown.length > 0 || (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0))) {
  const problem = unknown.length > 0 ? `${unknown.join(', ')}: no such benchmark` : `--rounds ${values.rounds}`;
  console.error(
    `${problem}. Usage: pnpm bench [${known.join(' | ')}] [--title PATTERN] [--only PATTERN] [--rounds n] [--cpu] [--check]`,
  );
  process.exit(1);
}

const processorTime = () => process.cpuUsage().user / 1000;
const machine = describeMachine();
console.log(
  `${machine.processor}, ${machine.threads} threads, ${machine.memoryGiB} GiB, Node ${machine.node}, ${machine.platform}, load ${machine.load}${values.cpu ? ', processor time' : ''}`,
);
const reports = fileURLToPath(new URL('../../../.reports/', import.meta.url));
await mkdir(reports, { recursive: true });
const short: string[] = [];
for (const name of positionals.length > 0 ? positionals : known) {
  const { benchmark } = (await import(new URL(`${name}.ts`, folder).href)) as { benchmark: Benchmark };
  console.log(`\n${name}: ${benchmark.description}`);
  const report: (Comparison & { readonly rows: readonly Measurement[] })[] = [];
  for await (const whole of benchmark.comparisons({ processorTime: values.cpu })) {
    if (values.title !== undefined && !new RegExp(values.title).test(whole.title)) continue;
    const comparison = values.only === undefined ? whole : onlyMatching(whole, new RegExp(values.only));
    if (comparison.contenders.length === 0) continue;
    const rows = await measure(comparison, {
      rounds: rounds ?? comparison.rounds,
      warmUps: comparison.warmUps ?? (comparison.rounds ? 1 : undefined),
      clock: values.cpu ? processorTime : undefined,
    });
    console.log(formatComparison(comparison, rows));
    short.push(...shortfalls(comparison, rows));
    report.push({ ...comparison, rows });
  }
  const comparisons = report.map(({ title, unit, work, growth, rows }) => ({ title, unit, work, growth, rows }));
  await writeFile(`${reports}bench-${name}.json`, `${JSON.stringify({ name, machine, comparisons }, null, 2)}\n`);
  if (benchmark.draw && report.length > 0) {
    await writeFile(`${reports}${name}.svg`, benchmark.draw(report));
    console.log(`  .reports/${name}.svg`);
  }
}
if (short.length > 0) {
  console.log(`\nSlower than expected:\n${short.join('\n')}`);
  if (values.check) process.exitCode = 1;
}
