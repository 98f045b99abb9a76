import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { awq } from '@q/awq';
import { cutWindows, splitDocuments, tokenStream, type Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, type Kernels, type ModelStep, perGroup, scheme, type Transform, uint3 } from '@q/core';
import { type Evaluation, evaluate, runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { loadTokenizer } from '@q/models';
import { planRun, type Rule, runPlan } from '@q/pipeline';
import { rotate } from '@q/rotate';
import { rtn } from '@q/rtn';
import { smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

const layout = gptqLayout();
const target = scheme({ format: uint3, granularity: perGroup(32), zeroPoint: 'integer' });
const linears = /^(?!lm_head$)/;
const scaling = () => awq({ clip: false });
/** Every sensible order: a rotation folds the norms' gains, so it comes first; AWQ judges by the real grid, so it comes last. */
const orders: readonly [string, () => ModelStep[]][] = [
  ['rotate, smoothquant, awq', () => [rotate(), smoothquant(), scaling()]],
  ['rotate, awq', () => [rotate(), scaling()]],
  ['rotate, smoothquant', () => [rotate(), smoothquant()]],
  ['smoothquant, awq', () => [smoothquant(), scaling()]],
];

let folder: string;
let kernels: Kernels;
let calibration: Windows;
let heldOut: Windows;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-composition-'));
  kernels = await createWasmKernels({ threads: 1 });
  const json = async (name: string) => JSON.parse(await readFile(join(demo.model, name), 'utf8'));
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: await json('config.json'),
  });
  const windows = async (path: string, count: number) =>
    cutWindows(tokenStream(splitDocuments(await readFile(path, 'utf8')), tokenizer), 48, { count });
  calibration = await windows(demo.calibration, 8);
  heldOut = await windows(demo.heldOut, 4);
});
afterAll(async () => {
  await kernels.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** Writes the demo model by a recipe, reads it back, and compares it with the original on other text. */
async function compared(name: string, transforms: readonly ModelStep[], rule: Rule): Promise<Evaluation> {
  const source = await openCheckpoint(demo.model, [layout]);
  const out = join(folder, name);
  const plan = planRun(source, { layout, transforms, rules: [rule], seed: 0 });
  await runPlan(plan, {
    out,
    context: createContext({ kernels }),
    calibration,
    engine: () => createEngine({ kernels }),
  });
  const written = await openCheckpoint(out, [layout]);
  const engine = await createEngine({ kernels });
  const logits = (checkpoint: typeof source) =>
    runWindows(checkpoint.model!, engine, (tensor) => checkpoint.weight(tensor), heldOut);
  const found = await evaluate(await logits(written), heldOut, { against: await logits(source) });
  await engine.dispose();
  await source.close();
  await written.close();
  return found;
}

/** Searches scales for a scheme although nothing is going to be quantized. */
function asIfQuantized(step: ModelStep): ModelStep {
  if (!('edges' in step) || step.name !== 'awq') return step;
  const searching: Transform = {
    ...step,
    apply: (input, context) => {
      const consumers = new Set(input.edges.flatMap((edge) => edge.consumers));
      return step.apply({ ...input, scheme: (module) => (consumers.has(module) ? target : undefined) }, context);
    },
  };
  return searching;
}

describe('transforms before GPTQ', () => {
  it.each(orders)('%s: leave the function as it is', async (name, steps) => {
    const { kl, perplexity, againstPerplexity } = await compared(`${name} kept`, steps().map(asIfQuantized), {
      match: '*',
      keep: true,
    });
    expect(Math.abs(perplexity / (againstPerplexity as number) - 1)).toBeLessThan(1e-4);
    expect(kl).toBeLessThan(1e-6);
  });

  it('end in a file that is far closer to the original than round to nearest', async () => {
    const { kl: rounded = 0 } = await compared('rtn', [], { match: linears, quantizer: rtn(), scheme: target });
    // Two orders that together hold every step: each run of GPTQ takes seconds.
    for (const [name, steps] of [orders[0], orders[3]]) {
      const { kl } = await compared(name, steps(), { match: linears, quantizer: gptq(), scheme: target });
      expect(kl, name).toBeLessThan(0.5 * rounded);
    }
  });

  it.each([
    ['smoothquant, rotate, awq', () => [smoothquant(), rotate(), scaling()], 'Put rotate first'],
    ['awq, rotate', () => [scaling(), rotate()], 'Put rotate first'],
    ['awq, smoothquant', () => [scaling(), smoothquant()], 'Put awq last'],
    ['rotate twice', () => [rotate(), smoothquant(), rotate()], 'rotate comes twice'],
  ])('%s: the plan refuses the order and says what to do', async (_name, steps, message) => {
    const source = await openCheckpoint(demo.model, [layout]);
    const rules = [{ match: linears, quantizer: gptq(), scheme: target }];
    expect(() => planRun(source, { layout, transforms: steps(), rules, seed: 0 })).toThrow(message);
    await source.close();
  });
});

describe('transforms in a recipe file', () => {
  const recipe = async (transforms: readonly string[]) => {
    const path = join(folder, `${transforms.join('-')}.json`);
    await writeFile(path, JSON.stringify({ method: 'gptq', bits: 3, group: 32, transforms }));
    return runCommand(['plan', demo.model, '--recipe', path]);
  };

  it('are shown in the plan; orders and names that make no sense are refused', async () => {
    const { code, out } = await recipe(['rotate', 'smoothquant', 'awq']);
    expect(code).toBe(0);
    expect(out).toMatch(/input_layernorm\.weight .*rewritten by rotate, scaled by smoothquant, awq/);
    const disorder = await recipe(['awq', 'rotate']);
    expect([disorder.code, disorder.err]).toEqual([1, expect.stringContaining('Put rotate first')]);
    const unknown = await recipe(['spin']);
    expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('transforms')]);
  });
});
