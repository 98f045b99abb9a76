import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { awq } from '@q/awq';
import { readU16Windows, type Windows } from '@q/calib';
import { awqLayout, gptqLayout, openCheckpoint, plainLayout, type QuantizedLayout } from '@q/checkpoint';
import {
  createContext,
  createRandom,
  dequantize,
  f16Scale,
  minMax,
  perGroup,
  type Quantizer,
  scheme,
  type Transform,
  uint3,
  uint4,
} from '@q/core';
import { hqq } from '@q/hqq';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { runPlan } from '../run/run.js';
import { demoModel } from '../testing/demo-model.js';
import { firstLogits, relativeError } from '../testing/first-logits.js';
import { workbench } from '../testing/workbench.js';

const target = scheme({ format: uint3, granularity: perGroup(32), zeroPoint: 'integer' });

const at = workbench();

/** Folders of models with windows to calibrate on: the shared ones where they are, and the demo's. */
async function subjects(): Promise<{ path: string; calibration: Windows }[]> {
  const random = createRandom('ids');
  const ids = Int32Array.from({ length: 2 * 48 }, () => random.integer(768));
  const found = [{ path: demoModel, calibration: { ids, count: 2, length: 48 } as Windows }];
  const shared = process.env.QUANT_SHARED;
  for (const name of ['llama-5m', 'gpt2-3m', 'opt-3m']) {
    const path = join(shared ?? '', 'models', name);
    if (!shared || !existsSync(path)) {
      console.log(`QUANT_SHARED has no models/${name}: its folding is not checked`);
      continue;
    }
    const all = readU16Windows(await readFile(join(path, 'calib-128x256.u16')), 256);
    found.push({ path, calibration: { ...all, count: 2, length: 48, ids: all.ids.slice(0, 96) } });
  }
  return found;
}

interface Recipe {
  readonly layout: QuantizedLayout;
  readonly transforms: readonly Transform[];
  readonly quantizer?: Quantizer;
  readonly of?: typeof target;
}

async function write(path: string, calibration: Windows, name: string, recipe: Recipe): Promise<string> {
  const source = await openCheckpoint(path, []);
  const { layout, transforms, quantizer, of = target } = recipe;
  const out = join(at.folder, name);
  const rules = quantizer ? [{ match: /^(?!lm_head$)/, quantizer, scheme: of }] : [{ match: '*', keep: true }];
  await runPlan(planRun(source, { layout, transforms, rules, seed: 0 }), {
    out,
    context: createContext({ kernels: at.kernels }),
    calibration,
    engine: () => createEngine({ kernels: at.kernels }),
  });
  await source.close();
  return out;
}

const logits = (path: string, windows: Windows, layouts: readonly QuantizedLayout[] = []) =>
  firstLogits(path, windows, at.kernels, layouts);

it('folding leaves the logits of every model within 1e-4', async () => {
  const seen: number[] = [];
  for (const { path, calibration } of await subjects()) {
    const inner = awq({ clip: false, gridPoints: 4 });
    const folding: Transform = {
      ...inner,
      async apply(input, context) {
        const linears = new Set(input.edges.flatMap(({ consumers }) => consumers));
        const result = await inner.apply(
          { ...input, scheme: (module) => (linears.has(module) ? target : undefined) },
          context,
        );
        for (const factors of result.inputScales.values()) seen.push(Math.max(...factors) / Math.min(...factors));
        return result;
      },
    };
    const out = await write(path, calibration, path.replaceAll('/', '-'), {
      layout: gptqLayout(),
      transforms: [folding],
    });
    const error = relativeError(await logits(out, calibration), await logits(path, calibration));
    expect(error, path).toBeLessThan(1e-4);
    expect(error, path).toBeGreaterThan(0);
  }
  expect(Math.max(...seen)).toBeGreaterThan(1.5);
});

it('clamped weights and scales reach the file, in every layout that can hold them', async () => {
  const [{ path, calibration }] = await subjects();
  const of = scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer', scaleStorage: f16Scale });
  const found: Float32Array[] = [];
  for (const layout of [gptqLayout(), awqLayout(), plainLayout()]) {
    const quantizer = rtn({ fit: minMax() });
    const out = await write(path, calibration, layout.name, {
      layout,
      transforms: [awq({ gridPoints: 4 })],
      quantizer,
      of,
    });
    const written = await openCheckpoint(out, [layout]);
    expect(written.layout).toBe(layout.name);
    found.push((await written.weight('model.layers.1.mlp.down_proj.weight')).data);
    found.push(await logits(out, calibration, [layout]));
    await written.close();
  }
  for (let i = 2; i < found.length; i++) expect(found[i]).toEqual(found[i % 2]);
});

it('hqq with float zero points comes back from the plain layout exactly', async () => {
  const [{ path, calibration }] = await subjects();
  const of = scheme({ format: uint3, granularity: perGroup(32), zeroPoint: 'float' });
  const layout = plainLayout();
  const out = await write(path, calibration, 'hqq', { layout, transforms: [], quantizer: hqq(), of });
  const [source, written] = [await openCheckpoint(path, []), await openCheckpoint(out, [layout])];
  const name = 'model.layers.2.self_attn.v_proj.weight';
  const none = { get: () => expect.fail('hqq is data-free'), has: () => false };
  const { quantized } = await hqq().quantize(await source.weight(name), none, of, createContext());
  expect(await written.weight(name)).toEqual(dequantize(quantized));
  await source.close();
  await written.close();
});
