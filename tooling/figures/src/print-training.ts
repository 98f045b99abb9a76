/**
 * `pnpm figures:training [MODEL ...] [--bits 2,3,4] [--methods a,b]`: what training brings beside round-to-nearest and GPTQ, by
 * perplexity and KL on held-out windows, wall time and trained parameters; integers with one scale per output channel. With `--work DIR` unfinished runs are
 * kept there and continued by the same command.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Quantizer, type Tuner, weightedSearch } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { efficientQat, peqa, qaft, signRound } from '@q/qat';
import { rtn } from '@q/rtn';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '2,3,4' },
    methods: { type: 'string' },
    epochs: { type: 'string', default: '20' },
    engine: { type: 'string', default: 'auto' },
    threads: { type: 'string' },
    work: { type: 'string' },
  },
});
const epochs = Number(values.epochs);

const searched = rtn({ fit: weightedSearch() });
const methods: Record<string, { quantizer: Quantizer; tuner?: Tuner }> = {
  rtn: { quantizer: rtn() },
  'gptq-paper': { quantizer: gptq(paperOptions) },
  gptq: { quantizer: gptq() },
  signround: { quantizer: searched, tuner: signRound() },
  'efficient-qat': { quantizer: searched, tuner: efficientQat() },
  peqa: { quantizer: gptq(), tuner: peqa({ loss: 'teacher' }) },
  'qaft-labels': { quantizer: gptq(), tuner: qaft({ epochs, loss: 'labels' }) },
  qaft: { quantizer: gptq(), tuner: qaft({ epochs }) },
};
const wanted = values.methods?.split(',') ?? Object.keys(methods);
const kernels = await createWasmKernels({ threads: values.threads ? Number(values.threads) : undefined });
console.log('model     bits  method            perplexity        KL    seconds    trained');
for (const name of positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m']) {
  const subject = await openSubject(name);
  for (const bits of values.bits.split(',').map(Number)) {
    for (const method of wanted) {
      const { quantizer, tuner } = methods[method];
      const run = await measureRecipe(subject, quantizer, asymmetric(bits, -1), kernels, {
        tuner,
        backend: values.engine as 'auto',
        progress: ({ task, done, total, note }) =>
          process.stderr.write(`\r${task} ${done}/${total} ${note ?? ''}      `),
        ...(values.work ? { out: join(values.work, `${name}-${bits}-${method}`) } : {}),
      });
      console.log(
        `${name.padEnd(9)} ${`${bits}`.padStart(4)}  ${method.padEnd(16)} ${run.perplexity.toFixed(4).padStart(11)} ${run.kl.toFixed(6).padStart(9)} ${run.seconds.toFixed(1).padStart(10)} ${`${run.trainedParameters}`.padStart(10)}`,
      );
    }
  }
}
await kernels.dispose();
