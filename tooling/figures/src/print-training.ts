/**
 * `pnpm figures:training [MODEL ...] [--bits 2,3,4] [--groups=-1] [--methods a,b] [--epochs 20]` compares trainings
 * with round-to-nearest and GPTQ, by perplexity and KL on held-out windows, time and trained parameters. Each finished
 * line is merged into `tooling/figures/reference/training.json`, and the whole table is printed; `--table` prints only
 * the table. With `--work DIR --limit SECONDS` a run stops after that time (exit code 75), and the same command goes on
 * from its last checkpoint.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { createContext } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { writtenText } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { asymmetric, measureRecipe, processorSecondsSince } from './measure-recipe.js';
import { openSubject, type Subject } from './subject.js';
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
/** Processor seconds of the runs of this line that a time limit ended. */
const spentSeconds = async (out: string | undefined): Promise<number> =>
  out === undefined ? 0 : Number(await readFile(`${out}.seconds`, 'utf8').catch(() => 0));
const stop = new AbortController();
if (values.limit) setTimeout(() => stop.abort(), 1000 * Number(values.limit)).unref();

if (!values.table) {
  const kernels = await createWasmKernels({ threads: values.threads ? Number(values.threads) : undefined });
  const probe = await createEngine({ backend, kernels });
  const engine = probe.name;
  await probe.dispose();
  if (values.work) await mkdir(values.work, { recursive: true });
  /**
   * As much written text as the calibration windows have. It is kept in the work folder for other bits and for a
   * resumed run.
   */
  const writtenBy = async ({ name, folder, calibration }: Subject): Promise<Windows> => {
    const source = await openCheckpoint(folder, []);
    const text = await writtenText(source, {
      ...{ context: createContext({ kernels, seed: 0 }), seed: 0, engine: () => createEngine({ kernels, backend }) },
      ...{ count: calibration.count, length: calibration.length },
      ...(values.work ? { file: join(values.work, `${name} text.jsonl`) } : {}),
    });
    await source.close();
    return text;
  };
  for (const model of positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m']) {
    const subject = await openSubject(model);
    let written: Promise<Windows> | undefined;
    const ownText = () => {
      written ??= writtenBy(subject);
      return written;
    };
    for (const bits of values.bits.split(',').map(Number))
      for (const group of values.groups.split(',').map(Number))
        for (const method of wanted) {
          const { quantizer, tuner, passes, writes } = trainingMethods[method](epochs);
          const out = values.work && join(values.work, [model, bits, group, method, epochs].join(' '));
          const begun = process.cpuUsage();
          const earlier = await spentSeconds(out);
          const run = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels, {
            ...{ tuner, backend, signal: stop.signal },
            ...(writes ? { calibration: await ownText() } : {}),
            progress: ({ task, done, total, note }) =>
              process.stderr.write(`\r${model} ${bits} ${method}: ${task} ${done}/${total} ${note ?? ''}      `),
            ...(out ? { out } : {}),
          }).catch(async (error) => {
            if (!stop.signal.aborted) throw error;
            if (out) await writeFile(`${out}.seconds`, `${earlier + processorSecondsSince(begun)}`);
            console.error('\nstopped at the time limit: the same command goes on');
            process.exit(unfinished);
          });
          if (out) await rm(`${out}.seconds`, { force: true });
          const { perplexity, kl, trainedParameters } = run;
          // A quantizer's own loss is another quantity: the error of its layers.
          const loss = tuner ? run.figures.loss : undefined;
          const processorSeconds = earlier + run.processorSeconds;
          const line = { model, bits, group, method, epochs: passes };
          await mergeTrainingLine({ ...line, perplexity, kl, processorSeconds, trainedParameters, loss, engine });
        }
  }
  await kernels.dispose();
}
console.log(trainingTable(await readTrainingLines()));
