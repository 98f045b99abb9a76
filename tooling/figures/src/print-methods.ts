/**
 * `pnpm figures:methods [MODEL ...] [--bits 4,3,2] [--groups=-1,64] [--methods 'rtn;gptq'] [--budgets 3,4]`: every
 * post-training method on the shared models with the windows that all tools were given: perplexity, KL, bits per weight and
 * time, beside the act-order reference and AutoRound. Leaves the table and one plot in `.reports/methods.{json,svg}`.
 */
import { mkdir, writeFile } from 'node:fs/promises';
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
import { peerKl } from './peers.js';
import { openSubject, subjectGroups } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    groups: { type: 'string' },
    methods: { type: 'string' },
    budgets: { type: 'string', default: '3,4' },
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
const wanted = values.methods?.split(';') ?? Object.keys(methods);
const budgets = values.budgets === '' ? [] : values.budgets.split(',').map(Number);

const kernels = await figureKernels();
const lines: MethodLine[] = [];
function print(model: string, bits: number, group: number, method: string, run: MeasuredRun): void {
  const against = (name: string) => {
    const kl = peerKl(name, model, bits, group);
    return (kl ? (run.kl / kl).toFixed(3) : '').padStart(9);
  };
  lines.push({ model, bits, group, method, ...run });
  console.log(
    `${model.padEnd(9)} ${`${bits}`.padStart(4)} ${`${group}`.padStart(5)}  ${method.padEnd(14)} ${run.perplexity.toFixed(4).padStart(10)}  ${run.kl.toFixed(6).padStart(9)}  ${run.bitsPerWeight.toFixed(3).padStart(6)} ${run.seconds.toFixed(1).padStart(8)}  ${against('gptq-act-order')}  ${against('autoround')}`,
  );
}

console.log('model     bits group  method         perplexity         KL  bits/w  seconds  /act-order /AutoRound');
for (const name of positionals.length > 0 ? positionals : Object.keys(subjectGroups)) {
  const subject = await openSubject(name);
  const groups = values.groups?.split(',').map(Number) ?? [-1, subjectGroups[name] ?? 64];
  for (const bits of values.bits.split(',').map(Number)) {
    for (const group of groups) {
      for (const label of wanted) {
        const { quantizer, steps } = methods[label]();
        const run = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels, { transforms: steps });
        print(name, bits, group, label, run);
      }
    }
  }
  const group = groups[groups.length - 1];
  const within = budgetMeasure(subject, gptq(), group, kernels);
  for (const budget of budgets) {
    const { run } = await within({ bitsPerWeight: budget });
    print(name, budget, group, `gptq, budget ${budget}`, run);
  }
}
await kernels.dispose();
const reports = new URL('../../../.reports/', import.meta.url);
await mkdir(reports, { recursive: true });
await writeFile(new URL('methods.json', reports), `${JSON.stringify(lines, null, 1)}\n`);
await writeFile(new URL('methods.svg', reports), methodsPlot(lines));
console.log('table and plot: .reports/methods.json, .reports/methods.svg');
