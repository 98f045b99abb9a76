/**
 * `pnpm figures:training [MODEL ...] [--bits 2,3,4] [--groups=-1] [--methods a,b] [--epochs 20]`: what training brings beside
 * round-to-nearest and GPTQ, by perplexity and KL on held-out windows, time and trained parameters. Each line is merged into
 * `tooling/figures/reference/training.json` when it is done, and the whole table printed; `--table` prints it alone.
 * With `--work DIR --limit SECONDS` a run stops after that time (exit code 75), and the same command goes on from its last checkpoint.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createWasmKernels } from '@q/kernels-wasm';
import { createEngine } from '@q/tfjs';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { openSubject } from './subject.js';
import { mergeTrainingLine, readTrainingLines, trainingTable } from './training-figures.js';
import { trainingMethods } from './training-methods.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '2,3,4' },
    groups: { type: 'string', default: '-1' },
    methods: { type: 'string' },
    epochs: { type: 'string', default: '20' },
    engine: { type: 'string', default: 'auto' },
    threads: { type: 'string' },
    work: { type: 'string' },
    limit: { type: 'string' },
    table: { type: 'boolean' },
  },
});
const unfinished = 75;
const backend = values.engine as 'auto';
const epochs = Number(values.epochs);
const wanted = values.methods?.split(',') ?? Object.keys(trainingMethods);
const stop = new AbortController();
if (values.limit) setTimeout(() => stop.abort(), 1000 * Number(values.limit)).unref();

if (!values.table) {
  const kernels = await createWasmKernels({ threads: values.threads ? Number(values.threads) : undefined });
  const probe = await createEngine({ backend, kernels });
  const engine = probe.name;
  await probe.dispose();
  if (values.work) await mkdir(values.work, { recursive: true });
  for (const model of positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m']) {
    const subject = await openSubject(model);
    for (const bits of values.bits.split(',').map(Number))
      for (const group of values.groups.split(',').map(Number))
        for (const method of wanted) {
          const { quantizer, tuner, passes } = trainingMethods[method](epochs);
          const run = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels, {
            ...{ tuner, backend, signal: stop.signal },
            progress: ({ task, done, total, note }) =>
              process.stderr.write(`\r${model} ${bits} ${method}: ${task} ${done}/${total} ${note ?? ''}      `),
            ...(values.work ? { out: join(values.work, [model, bits, group, method, epochs].join(' ')) } : {}),
          }).catch((error) => {
            if (!stop.signal.aborted) throw error;
            console.error('\nstopped at the time limit: the same command goes on');
            process.exit(unfinished);
          });
          const { perplexity, kl, trainedParameters, figures } = run;
          const { steps = 0, secondsPerStep } = figures;
          const seconds = secondsPerStep === undefined ? run.seconds : steps * secondsPerStep;
          const line = { model, bits, group, method, epochs: passes };
          await mergeTrainingLine({ ...line, perplexity, kl, seconds, trainedParameters, engine });
        }
  }
  await kernels.dispose();
}
console.log(trainingTable(await readTrainingLines()));
