/**
 * `pnpm figures:end-loss [MODEL ...] [--bits 4,3,2] [--group 64] [--methods a,b] [--samples 128] [--valid 60]
 * [--again]` compares layer-wise solvers that use the end loss, and trainings, with the default GPTQ on the same
 * windows. It prints KL on held-out windows and processor time as multiples of GPTQ's. Each finished line is merged
 * into `reference/end-loss.json`; lines that are there already are measured again only with `--again`. The table of all
 * lines is printed at the end; `--table` prints only the table.
 */
import { parseArgs } from 'node:util';
import { endLossTable, mergeEndLossLine, readEndLossLines, sameRun } from './end-loss-figures.js';
import { endLossMethods } from './end-loss-methods.js';
import { figureKernels } from './figure-kernels.js';
import { measureInWasm } from './measure-in-wasm.js';
import { asymmetric } from './measure-recipe.js';
import { firstWindows, openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    group: { type: 'string', default: '64' },
    methods: { type: 'string' },
    samples: { type: 'string', default: '128' },
    valid: { type: 'string', default: '60' },
    again: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
});
const wanted = values.methods?.split(',') ?? Object.keys(endLossMethods);
if (!values.table) {
  const kernels = await figureKernels();
  for (const name of positionals.length > 0 ? positionals : ['stories260K', 'llama-5m', 'gpt2-3m', 'opt-3m']) {
    const subject = firstWindows(await openSubject(name), Number(values.samples), Number(values.valid));
    for (const bits of values.bits.split(',').map(Number))
      for (const method of wanted) {
        const make = endLossMethods[method];
        if (!make) throw new Error(`--methods ${method}: is not known (${Object.keys(endLossMethods).join(', ')})`);
        const group = Number(values.group);
        const run = {
          model: name,
          bits,
          group,
          method,
          samples: subject.calibration.count,
          valid: subject.valid.count,
        };
        if (!values.again && (await readEndLossLines()).some((line) => sameRun(line, run))) continue;
        const { quantizer, tuner } = make();
        const { kl, perplexity, processorSeconds } = await measureInWasm(
          subject,
          { quantizer, tuner, scheme: asymmetric(bits, group) },
          kernels,
        );
        await mergeEndLossLine({ ...run, kl, perplexity, processorSeconds });
        console.log(`${name} ${bits} bits ${method}: KL ${kl.toFixed(6)}, ${processorSeconds.toFixed(0)} s`);
      }
  }
  await kernels.dispose();
}
console.log(endLossTable(await readEndLossLines()));
