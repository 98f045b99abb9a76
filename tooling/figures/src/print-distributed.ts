/**
 * `pnpm figures:distributed [--plot FILE] [--cores 8] [--costs JSON]` measures the costs of the parts of a run on one
 * thread of this machine. From these it simulates runs of a 70B and a 671B model on 8 and 64 workers with links of 1
 * and 10 Gb/s, and prints time by stage, bytes moved, and the bottleneck. `--costs` uses the line of an earlier run
 * instead of measuring.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { measureCosts } from './distributed-costs.js';
import { distributedPlot, type PlottedStage } from './distributed-plot.js';
import { largeModels } from './distributed-shapes.js';
import { type PartCosts, type Site, simulateCalibrated, simulateRun } from './simulate-run.js';

const { values } = parseArgs({
  options: {
    plot: { type: 'string' },
    cores: { type: 'string', default: '8' },
    costs: { type: 'string' },
  },
});
const cores = Number(values.cores);
const costs: PartCosts = values.costs === undefined ? await measureCosts() : JSON.parse(values.costs);
console.log(`costs on one thread: ${JSON.stringify(costs)}\n`);

const sites: readonly Site[] = (['folder', 'bucket'] as const).flatMap((store) =>
  [1, 10].flatMap((gigabits) => [8, 64].map((workers) => ({ workers, cores, gigabits, store }))),
);
const nameOf = ({ workers, gigabits, store }: Site) => `${workers} workers, ${gigabits} Gb/s, ${store}`;
const hours = (seconds: number) => (seconds / 3600).toFixed(2);
const plotted: PlottedStage[] = [];

console.log('Data-free (hqq, 4 bits), hours:\n');
console.log('| model | site | filling | computing | moving | waiting | folder | total | TB moved | longest |');
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const model of largeModels)
  for (const site of sites) {
    const { stages, total, bytes, bottleneck } = simulateRun(model, costs, site);
    plotted.push(...stages.map((stage) => ({ ...stage, model: model.name, site: nameOf(site) })));
    const columns = [...stages.map(({ seconds }) => hours(seconds)), hours(total), (bytes / 1e12).toFixed(2)];
    console.log(`| ${model.name} | ${nameOf(site)} | ${columns.join(' | ')} | ${bottleneck} |`);
  }

const calibration = { samples: 128, length: 2048, shards: 16 };
console.log(
  `\nGPTQ on ${calibration.samples} windows of ${calibration.length} tokens in ${calibration.shards} shards, hours:\n`,
);
console.log('| model | site | filling | forward, sums | publishing | adding | solving | total | TB moved | longest |');
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const model of largeModels)
  for (const site of sites) {
    const { stages, total, bytes, bottleneck } = simulateCalibrated(model, costs, site, calibration);
    const columns = [...stages.map(({ seconds }) => hours(seconds)), hours(total), (bytes / 1e12).toFixed(2)];
    console.log(`| ${model.name} | ${nameOf(site)} | ${columns.join(' | ')} | ${bottleneck} |`);
  }
if (values.plot) await writeFile(values.plot, distributedPlot(plotted));
