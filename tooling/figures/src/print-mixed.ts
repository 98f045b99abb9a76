/**
 * `pnpm figures:mixed [MODEL ...] [--bits 3,4] [--windows 16] [--method gptq|rtn] [--samples 128]`: mixed precision beside
 * uniform widths of the same number of bytes, and at exactly 3.0 and 4.0 bits per weight, by KL and perplexity on the
 * valid windows. Sensitivities come from the first calibration windows.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Windows } from '@q/calib';
import { type Checkpoint, gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, minMax, type Quantizer } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { type BudgetUnit, checkpointSensitivity, fitToBudget, planRun, type Recipe, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { asymmetric, openSubject } from './measure-recipe.js';

const shared = process.env.QUANT_SHARED;
if (!shared) throw new Error('QUANT_SHARED must name the folder with the shared models');
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '3,4' },
    windows: { type: 'string', default: '16' },
    samples: { type: 'string', default: '128' },
    method: { type: 'string', default: 'gptq' },
  },
});
const groups: Readonly<Record<string, number>> = { 'llama-5m': 128, 'gpt2-3m': 64, 'opt-3m': 64 };
const quantizers: Readonly<Record<string, () => Quantizer>> = { gptq, rtn: () => rtn({ fit: minMax() }) };
const layout = gptqLayout();
const kernels = await createWasmKernels();
const context = createContext({ kernels });
const first = ({ ids, length }: Windows, count: number): Windows => ({
  ids: ids.subarray(0, count * length),
  count,
  length,
});

console.log('model     group  recipe                 bits/weight         KL  perplexity  / uniform  widths');
for (const name of positionals.length > 0 ? positionals : Object.keys(groups)) {
  const subject = await openSubject(shared, name);
  const source = await openCheckpoint(subject.folder, [layout]);
  const engine = await createEngine({ kernels });
  const logits = (checkpoint: Checkpoint) => {
    if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
    return runWindows(checkpoint.model, engine, (tensor) => checkpoint.weight(tensor), subject.valid);
  };
  const original = await logits(source);
  const quantizer = quantizers[values.method]();
  const group = groups[name];
  const recipeOf = (rule: Partial<Recipe['rules'][number]>): Recipe => ({
    layout,
    rules: [{ match: /^(?!lm_head$)/, quantizer, ...rule }],
    seed: 0,
  });
  const measure = async (label: string, recipe: Recipe, widths = '', uniform?: number): Promise<number> => {
    const out = join(tmpdir(), `q-mixed-${process.pid}`);
    const plan = planRun(source, recipe);
    const calibration = first(subject.calibration, Number(values.samples));
    await runPlan(plan, { out, context, calibration, engine: () => createEngine({ kernels }) });
    const written = await openCheckpoint(out, [layout]);
    const { kl = Number.NaN, perplexity } = await evaluate(await logits(written), subject.valid, { against: original });
    await written.close();
    await rm(out, { recursive: true });
    console.log(
      `${name.padEnd(9)} ${`${group}`.padStart(5)}  ${label.padEnd(22)} ${plan.bitsPerWeight.toFixed(3).padStart(11)}  ${kl.toFixed(6).padStart(9)}  ${perplexity.toFixed(4).padStart(10)}  ${(uniform ? kl / uniform : 1).toFixed(3).padStart(9)}  ${widths}`,
    );
    return kl;
  };
  let table: ReadonlyMap<string, readonly number[]> | undefined;
  const sensitivities = async (units: readonly BudgetUnit[]) => {
    const started = performance.now();
    const windows = first(subject.calibration, Number(values.windows));
    table ??= await checkpointSensitivity(source, recipeOf({}), units, {
      context,
      engine: () => createEngine({ kernels }),
      windows,
    });
    const seconds = (performance.now() - started) / 1000;
    if (seconds > 0.1) console.log(`${name}: sensitivities of ${units.length} units in ${seconds.toFixed(1)} s`);
    return table;
  };
  const candidates = [2, 3, 4, 8].map((bits) => asymmetric(bits, group));
  const mixed = async (label: string, bitsPerWeight: number, uniform?: number) => {
    const { recipe, choices } = await fitToBudget(source, recipeOf({ candidates }), { bitsPerWeight }, sensitivities);
    await measure(label, recipe, choices.map(({ options, chosen }) => options[chosen].bits).join(' '), uniform);
  };
  for (const bits of values.bits.split(',').map(Number)) {
    const recipe = recipeOf({ scheme: asymmetric(bits, group) });
    const uniform = await measure(`uniform ${bits}`, recipe);
    await mixed(`mixed, as many bytes`, planRun(source, recipe).bitsPerWeight, uniform);
    await mixed(`mixed, budget ${bits}.0`, bits);
  }
  await engine.dispose();
  await source.close();
}
await kernels.dispose();
