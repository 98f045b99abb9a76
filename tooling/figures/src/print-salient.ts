/**
 * `pnpm figures:salient [MODEL ...] [--bits 3] [--samples 128] [--windows 60]` repeats the experiment that motivates
 * AWQ (arXiv 2306.00978, tables 1 and 2): round-to-nearest; the same with 1 % of each linear's input channels in full
 * precision, chosen by the inputs' mean magnitude, by the norm of the weights' columns, or at random; the same with
 * these channels scaled by 2 instead; and AWQ itself.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { awq } from '@q/awq';
import { openCheckpoint, plainLayout } from '@q/checkpoint';
import { createContext, minMax } from '@q/core';
import { evaluate, runWindows } from '@q/eval';

import { planRun, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { figureKernels } from './figure-kernels.js';
import { asymmetric } from './measure-recipe.js';
import { type Choice, channelMagnitudes, chooseChannels, keepChannels, scaleChannels } from './salient.js';
import { firstWindows, openSubject, subjectGroups } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '3' },
    share: { type: 'string', default: '0.01' },
    samples: { type: 'string', default: '128' },
    windows: { type: 'string', default: '60' },
  },
});
const bits = Number(values.bits);
const share = Number(values.share);
const kernels = await figureKernels();
const engine = await createEngine({ kernels });
console.log(`round to nearest, ${bits} bits, ${100 * share} % of the input channels of every linear (at least one)`);
console.log('model     group  variant                       perplexity         KL');
for (const name of positionals.length > 0 ? positionals : Object.keys(subjectGroups)) {
  const { folder, calibration, valid } = firstWindows(
    await openSubject(name),
    Number(values.samples),
    Number(values.windows),
  );
  const source = await openCheckpoint(folder, []);
  const { model } = source;
  if (!model) throw new Error(`${folder}: unknown architecture`);
  const logitsOf = (weight: typeof source.weight) => runWindows(model, engine, weight, valid);
  const original = await logitsOf((tensor) => source.weight(tensor));
  const magnitudes = await channelMagnitudes(model, engine, (tensor) => source.weight(tensor), calibration);
  const linears = new Set(model.blocks.flatMap((block) => block.linears.map(({ module }) => module)));
  const group = subjectGroups[name] ?? 64;
  const scheme = asymmetric(bits, group);
  const print = (variant: string, { perplexity, kl = Number.NaN }: { perplexity: number; kl?: number }) =>
    console.log(
      `${name.padEnd(9)} ${`${group}`.padStart(5)}  ${variant.padEnd(28)} ${perplexity.toFixed(4).padStart(11)} ${kl.toFixed(6).padStart(10)}`,
    );
  const measure = async (variant: string, change: (weight: Float32Array, module: string) => Float32Array) => {
    const logits = await logitsOf(async (tensor) => {
      const weight = await source.weight(tensor);
      const module = tensor.replace(/\.weight$/, '');
      return tensor.endsWith('.weight') && linears.has(module)
        ? { ...weight, data: change(weight.data, module) }
        : weight;
    });
    print(variant, await evaluate(logits, valid, { against: original }));
  };
  const channels = (choice: Choice, weight: Float32Array, module: string) =>
    chooseChannels(choice, share, weight, magnitudes.get(module) as Float64Array, `${name} ${module}`);
  await measure('rtn', (weight, module) => keepChannels(weight, magnitudes.get(module)!.length, [], scheme));
  for (const choice of ['activation', 'weight', 'random'] as const)
    await measure(`${100 * share} % kept by ${choice}`, (weight, module) =>
      keepChannels(weight, magnitudes.get(module)!.length, channels(choice, weight, module), scheme),
    );
  await measure(`${100 * share} % by activation, times 2`, (weight, module) =>
    scaleChannels(weight, magnitudes.get(module)!.length, channels('activation', weight, module), 2, scheme),
  );
  const layout = plainLayout();
  const out = await mkdtemp(join(tmpdir(), 'q-salient-'));
  for (const clip of [false, true]) {
    const rules = [{ match: /^(?!lm_head$)/, quantizer: rtn({ fit: minMax() }), scheme }];
    const plan = planRun(source, { layout, transforms: [awq({ clip })], rules, seed: 0 });
    const target = join(out, `${clip}`);
    await runPlan(plan, {
      out: target,
      context: createContext({ kernels }),
      calibration,
      engine: () => createEngine({ kernels }),
    });
    const written = await openCheckpoint(target, [layout]);
    const logits = await logitsOf((tensor) => written.weight(tensor));
    print(clip ? 'awq, with clipping' : 'awq, scales alone', await evaluate(logits, valid, { against: original }));
    await written.close();
  }
  await rm(out, { recursive: true });
  await source.close();
}
await engine.dispose();
await kernels.dispose();
