/**
 * `pnpm figures:mixed [MODEL ...] [--bits 3,4] [--windows 16] [--method gptq|rtn] [--samples 128]` compares mixed
 * precision with uniform bits of the same number of bytes, and at exactly 3.0 and 4.0 bits per weight, by KL and
 * perplexity on the valid windows. Sensitivities come from the first calibration windows.
 */
import { parseArgs } from 'node:util';
import { minMax, type Quantizer } from '@q/core';
import { gptq } from '@q/gptq';
import { rtn } from '@q/rtn';
import { figureKernels } from './figure-kernels.js';
import { budgetMeasure } from './measure-budget.js';
import { asymmetric, type MeasuredRun, measureRecipe } from './measure-recipe.js';
import { openSubject, subjectGroups } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '3,4' },
    windows: { type: 'string', default: '16' },
    samples: { type: 'string', default: '128' },
    method: { type: 'string', default: 'gptq' },
  },
});
const quantizers: Readonly<Record<string, () => Quantizer>> = { gptq, rtn: () => rtn({ fit: minMax() }) };
const kernels = await figureKernels();

console.log('model     group  recipe                 bits/weight         KL  perplexity  / uniform  widths');
for (const name of positionals.length > 0 ? positionals : Object.keys(subjectGroups)) {
  const whole = await openSubject(name);
  const count = Math.min(Number(values.samples), whole.calibration.count);
  const ids = whole.calibration.ids.subarray(0, count * whole.calibration.length);
  const subject = { ...whole, calibration: { ...whole.calibration, ids, count } };
  const quantizer = quantizers[values.method]();
  const group = subjectGroups[name];
  const print = (label: string, { bitsPerWeight, kl, perplexity }: MeasuredRun, uniform: number, widths = '') =>
    console.log(
      `${name.padEnd(9)} ${`${group}`.padStart(5)}  ${label.padEnd(22)} ${bitsPerWeight.toFixed(3).padStart(11)}  ${kl.toFixed(6).padStart(9)}  ${perplexity.toFixed(4).padStart(10)}  ${(kl / uniform).toFixed(3).padStart(9)}  ${widths}`,
    );
  const windows = Number(values.windows);
  const walked = budgetMeasure(subject, quantizer, group, kernels, { windows });
  const passed = budgetMeasure(subject, quantizer, group, kernels, { windows, by: 'one-pass' });
  for (const bits of values.bits.split(',').map(Number)) {
    const uniform = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels);
    print(`uniform ${bits}`, uniform, uniform.kl);
    for (const [label, bitsPerWeight, within] of [
      ['mixed, as many bytes', uniform.bitsPerWeight, walked],
      ['the same, one pass', uniform.bitsPerWeight, passed],
      [`mixed, budget ${bits}.0`, bits, walked],
      ['the same, one pass', bits, passed],
    ] as const) {
      const { run, widths } = await within({ bitsPerWeight });
      print(label, run, uniform.kl, widths.join(' '));
    }
  }
}
await kernels.dispose();
