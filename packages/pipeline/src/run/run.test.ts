import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, dequantize, int4, minMax, perGroup, type Quantizer, scheme, uint3 } from '@q/core';
import { gptq as fullGptq, type GptqOptions } from '@q/gptq';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import type { Rule } from '../recipe/recipe.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { runPlan } from './run.js';

const layout = gptqLayout();
/** Without the searches that make it good and slow: the walk is what is tested here. */
const gptq = (options: GptqOptions = {}) =>
  fullGptq({ fit: minMax(), importance: 'none', refineRounds: 0, ...options });
const symmetric = scheme({ format: int4, granularity: perGroup(32) });

const at = workbench();
let calibration: Windows;
beforeAll(async () => {
  calibration = await demoWindows(32, 2);
});

async function run(rules: readonly Rule[], name = 'out', signal?: AbortSignal, backend?: 'cpu') {
  const source = await openCheckpoint(demoModel, [layout]);
  try {
    const out = join(at.folder, name);
    await runPlan(planRun(source, { layout, rules, seed: 0 }), {
      out,
      context: createContext({ kernels: at.kernels, signal }),
      calibration,
      engine: () => createEngine({ kernels: at.kernels, backend }),
    });
    return out;
  } finally {
    await source.close();
  }
}

const quantizationConfig = async (out: string) =>
  JSON.parse(await readFile(join(out, 'config.json'), 'utf8')).quantization_config;

describe('runPlan', () => {
  it('records kept linears, so that runtimes do not look for them in quantized form', async () => {
    const out = await run([
      { match: /down_proj$/, keep: true },
      { match: '*', quantizer: rtn(), scheme: symmetric },
    ]);
    const { dynamic, lm_head } = await quantizationConfig(out);
    expect(Object.keys(dynamic)).toEqual(
      [0, 1, 2, 3].map((layer) => `-:^model\\.layers\\.${layer}\\.mlp\\.down_proj$`),
    );
    expect(lm_head).toBe(false);
    const written = await openCheckpoint(out, [layout]);
    expect(await written.quantized('model.layers.0.mlp.down_proj')).toBeUndefined();
    expect(await written.quantized('model.layers.0.mlp.up_proj')).toBeDefined();
    await written.close();
  });

  it('says desc_act when groups were reordered, also after a resume', async () => {
    const rules: Rule[] = [
      { match: /layers/, quantizer: gptq({ actOrder: true, staticGroups: false }), scheme: symmetric },
    ];
    const whole = await run(rules, 'whole');
    expect((await quantizationConfig(whole)).desc_act).toBe(true);
    let calls = 0;
    const controller = new AbortController();
    const interrupted: Quantizer = {
      ...gptq({ actOrder: true, staticGroups: false }),
      async quantize(...args) {
        // In the last block: what reorders is known from the files alone when the run goes on.
        if (++calls === 22) controller.abort();
        return gptq({ actOrder: true, staticGroups: false }).quantize(...args);
      },
    };
    await expect(run([{ ...rules[0], quantizer: interrupted }], 'parts', controller.signal)).rejects.toThrow();
    await run(rules, 'parts');
    for (const name of await readdir(whole))
      expect(await readFile(join(at.folder, 'parts', name)), name).toEqual(await readFile(join(whole, name)));
    expect((await quantizationConfig(await run([{ ...rules[0], quantizer: gptq() }], 'static'))).desc_act).toBe(false);
  });

  it('goes on only with the engine that it was begun with, and is kept when another one is refused', async () => {
    const controller = new AbortController();
    let calls = 0;
    const interrupted: Quantizer = {
      ...gptq(),
      async quantize(...args) {
        if (++calls === 9) controller.abort();
        return gptq().quantize(...args);
      },
    };
    const rule = { match: /layers/, scheme: symmetric };
    await expect(run([{ ...rule, quantizer: interrupted }], 'parts', controller.signal)).rejects.toThrow();
    const before = await readdir(join(at.folder, 'parts'));
    await expect(run([{ ...rule, quantizer: gptq() }], 'parts', undefined, 'cpu')).rejects.toThrow(
      /computed with tfjs-(node|wasm), .*; this one computes with tfjs-cpu, .*choose the same engine/,
    );
    expect(await readdir(join(at.folder, 'parts'))).toEqual(before);
    await run([{ ...rule, quantizer: gptq() }], 'parts');
  });

  it('gives a stage the inputs that its quantized predecessors produce', async () => {
    const seen: number[] = [];
    const spy: Quantizer = {
      ...gptq(),
      async quantize(weight, statistics, target, context) {
        const [statistic] = gptq().needs;
        seen.push((statistics.get(statistic) as { sum: Float64Array }).sum[0]);
        return gptq().quantize(weight, statistics, target, context);
      },
    };
    const coarse = scheme({ format: uint3, granularity: perGroup(64), zeroPoint: 'integer' });
    await run([{ match: /layers/, quantizer: spy, scheme: coarse }], 'coarse');
    const first = seen.splice(0);
    await run([{ match: /layers/, quantizer: spy, scheme: symmetric }], 'fine');
    // q, k and v of the first block see the embeddings; everything behind them sees what quantization changed.
    expect(seen.slice(0, 3)).toEqual(first.slice(0, 3));
    for (let i = 3; i < 28; i++) expect(seen[i], `layer ${i}`).not.toBe(first[i]);
  });

  it('writes what the method decided', async () => {
    const out = await run([{ match: /layers/, quantizer: rtn(), scheme: symmetric }]);
    const [source, written] = [await openCheckpoint(demoModel, [layout]), await openCheckpoint(out, [layout])];
    for (const module of ['model.layers.1.self_attn.k_proj', 'model.layers.3.mlp.gate_proj']) {
      const weight = await source.weight(`${module}.weight`);
      const statistics = { get: () => expect.fail('rtn needs no statistics'), has: () => false };
      const { quantized } = await rtn().quantize(weight, statistics, symmetric, createContext());
      expect(await written.weight(`${module}.weight`)).toEqual(dequantize(quantized));
    }
    await source.close();
    await written.close();
  });
});
