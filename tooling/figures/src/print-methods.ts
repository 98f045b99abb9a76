/**
 * `pnpm figures:methods [MODEL ...] [--bits 4,3,2] [--groups=-1,64] [--methods 'rtn;gptq'] [--budgets 3,4] [--fresh]`
 * measures every post-training method on the shared models with the windows of all tools: perplexity, KL, bits per
 * weight and time, compared with the act-order reference and AutoRound. The table and its plot are in
 * `.reports/methods.{json,svg}`. A run of some models, bits or methods replaces their lines and keeps the others
 * (`--budgets ''`: none; `--fresh`: a new table).
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { awq } from '@q/awq';
import { type ModelStep, minMax, type Quantizer } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { hqq } from '@q/hqq';
import { rotate } from '@q/rotate';
import { rtn } from '@q/rtn';
import { figureKernels } from './figure-kernels.js';
import { budgetMeasure } from './measure-budget.js';
import { asymmetric, type MeasuredRun, measureRecipe } from './measure-recipe.js';
import { type MethodLine, methodsPlot } from './methods-plot.js';
import { mergeLines, readLines, writeLines } from './methods-table.js';
import { peerKl, peers } from './peers.js';
import { openSubject, subjectGroups } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    groups: { type: 'string' },
    methods: { type: 'string' },
    budgets: { type: 'string', default: '3,4' },
    fresh: { type: 'boolean', default: false },
  },
});

interface Method {
  readonly quantizer: Quantizer;
  readonly steps?: readonly ModelStep[];
}
const methods: Readonly<Record<string, () => Method>> = {
  rtn: () => ({ quantizer: rtn({ fit: minMax() }) }),
  'rtn, search': () => ({ quantizer: rtn() }),
  hqq: () => ({ quantizer: hqq() }),
  awq: () => ({ quantizer: rtn({ fit: minMax() }), steps: [awq()] }),
  'gptq, paper': () => ({ quantizer: gptq(paperOptions) }),
  gptq: () => ({ quantizer: gptq() }),
  'rotate, gptq': () => ({ quantizer: gptq(), steps: [rotate()] }),
};
const wanted = known('--methods', values.methods?.split(';') ?? Object.keys(methods), Object.keys(methods));
const models = known('model', positionals, Object.keys(subjectGroups));
const widths = known('--bits', values.bits.split(','), ['2', '3', '4', '5', '6', '7', '8']).map(Number);
const budgets = values.budgets === '' ? [] : values.budgets.split(',').map(Number);

const kernels = await figureKernels();
const reports = new URL('../../../.reports/', import.meta.url);
const file = new URL('methods.json', reports);
let lines: readonly MethodLine[] = values.fresh ? [] : await readLines(file);

/** @throws Error naming the unknown name, and the known ones */
function known(option: string, given: readonly string[], all: readonly string[]): readonly string[] {
  const odd = given.find((name) => !all.includes(name));
  if (odd !== undefined) throw new Error(`${option} ${odd}: not known; there are ${all.join('; ')}`);
  return given;
}

/** The report's own figures describe one layer, so the table does not have them. */
const withoutFigures = ({ figures: _, ...run }: MeasuredRun): Omit<MeasuredRun, 'figures'> => run;

async function print(model: string, bits: number, group: number, method: string, run: MeasuredRun): Promise<void> {
  const against = (name: string) => {
    const kl = peerKl(name, model, bits, group);
    return (kl ? (run.kl / kl).toFixed(3) : '').padStart(9);
  };
  lines = mergeLines(lines, [{ model, bits, group, method, ...withoutFigures(run) }]);
  await writeLines(file, lines);
  console.log(
    `${model.padEnd(9)} ${`${bits}`.padStart(4)} ${`${group}`.padStart(5)}  ${method.padEnd(14)} ${run.perplexity.toFixed(4).padStart(10)}  ${run.kl.toFixed(6).padStart(9)}  ${run.bitsPerWeight.toFixed(3).padStart(6)} ${run.seconds.toFixed(1).padStart(8)}  ${against('gptq-act-order')}  ${against('autoround')}`,
  );
}

console.log('model     bits group  method         perplexity         KL  bits/w  seconds  /act-order /AutoRound');
for (const name of models.length > 0 ? models : Object.keys(subjectGroups)) {
  const subject = await openSubject(name);
  const groups = values.groups?.split(',').map(Number) ?? [-1, subjectGroups[name] ?? 64];
  for (const bits of widths) {
    for (const group of groups) {
      for (const label of wanted) {
        const { quantizer, steps } = methods[label]();
        const run = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels, { transforms: steps });
        await print(name, bits, group, label, run);
      }
    }
  }
  const group = groups[groups.length - 1];
  const within = budgetMeasure(subject, gptq(), group, kernels);
  for (const budget of budgets) {
    const { run } = await within({ bitsPerWeight: budget });
    await print(name, budget, group, `gptq, budget ${budget}`, run);
  }
}
await kernels.dispose();
await writeFile(new URL('methods.svg', reports), methodsPlot(lines, peers));
console.log(`${lines.length} lines and the plot: .reports/methods.json, .reports/methods.svg`);
