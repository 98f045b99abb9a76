import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { awq } from '@q/awq';
import type { Windows } from '@q/calib';
import { type Checkpoint, gptqLayout, openCheckpoint, takeRows } from '@q/checkpoint';
import {
  createContext,
  type Kernels,
  type ModelStep,
  minMax,
  perGroup,
  type Quantizer,
  scheme,
  tensor,
  uint4,
} from '@q/core';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { planRun, runPlan } from '@q/pipeline';
import { rotate } from '@q/rotate';
import { rtn } from '@q/rtn';
import { smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';

const layout = gptqLayout();
const target = scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer' });
/** Every way to use calibration inputs. */
const methods: readonly [string, () => { steps: ModelStep[]; quantizer: Quantizer }][] = [
  ['awq, by the layers', () => ({ steps: [awq()], quantizer: rtn({ fit: minMax() }) })],
  ['awq, by the module', () => ({ steps: [awq({ objective: 'module' })], quantizer: rtn({ fit: minMax() }) })],
  ['smoothquant', () => ({ steps: [smoothquant({ alpha: 'search', edges: 'all' })], quantizer: rtn() })],
  ['gptq', () => ({ steps: [], quantizer: gptq() })],
  ['rotate, gptq', () => ({ steps: [rotate()], quantizer: gptq() })],
];

let folder: string;
let kernels: Kernels;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-calibration-'));
  kernels = await createWasmKernels({ threads: 1 });
});
afterAll(async () => {
  await kernels.dispose();
  await rm(folder, { recursive: true, force: true });
});

type Change = (values: Float32Array, name: string) => void;

/** Quantizes the demo model, with some of its values changed, on the given windows. */
async function quantize(
  name: string,
  { steps, quantizer }: { steps: ModelStep[]; quantizer: Quantizer },
  calibration: Windows,
  change: Change = () => {},
) {
  const original = await openCheckpoint(demo.model, [layout]);
  const source: Checkpoint = {
    ...original,
    async weight(tensorName) {
      const { shape, data } = await original.weight(tensorName);
      const own = data.slice();
      change(own, tensorName);
      return tensor('f32', shape, own);
    },
    rows: async (tensorName, rows) => takeRows(await source.weight(tensorName), rows),
  };
  const out = join(folder, name);
  try {
    const rules = [{ match: /^(?!lm_head$)/, quantizer, scheme: target }];
    return await runPlan(planRun(source, { layout, transforms: steps, rules, seed: 0 }), {
      out,
      context: createContext({ kernels }),
      calibration,
      engine: () => createEngine({ kernels }),
    });
  } finally {
    await original.close();
  }
}

const windows = (count: number, length: number): Windows => ({
  count,
  length,
  ids: Int32Array.from({ length: count * length }, (_, i) => 5 + (i % 40)),
});

/** Channel 3 of block 1's attention input is never excited, and its values and down projection are zeros. */
const deadAndZero: Change = (values, name) => {
  if (name === 'model.layers.1.input_layernorm.weight') values[3] = 0;
  if (/layers\.1\.(self_attn\.v|mlp\.down)_proj\.weight$/.test(name)) values.fill(0);
};

describe.each(methods)('%s', (name, method) => {
  it('dead channels, layers of zeros and far fewer tokens than columns give finite weights', async () => {
    // Four tokens for 128 columns; Hessians of rank 1 and of zeros are the methods' own tests.
    const { layers } = await quantize(name, method(), windows(1, 4), deadAndZero);
    const written = await openCheckpoint(join(folder, name), [layout]);
    for (const { module, error } of layers) {
      expect(Number.isFinite(error ?? 0), module).toBe(true);
      const { data } = await written.weight(`${module}.weight`);
      expect(data.every(Number.isFinite), module).toBe(true);
      // GPTQ gives zeros values of their own: it takes off what earlier layers have done to the residual stream.
      if (/layers\.1\.mlp\.down_proj/.test(module) && !name.includes('gptq'))
        expect(data.every((value) => value === 0)).toBe(true);
    }
    await written.close();
  });

  it('NaN in one of two batches stops the run, names where, and leaves no finished folder', async () => {
    // Only the last batch of 8 windows holds token 4, whose embedding is broken.
    const calibration = windows(9, 4);
    calibration.ids[calibration.ids.length - 2] = 4;
    const broken: Change = (values, tensorName) => {
      if (tensorName === 'model.embed_tokens.weight') values.fill(Number.NaN, 4 * 128, 5 * 128);
    };
    await expect(quantize(`${name} NaN`, method(), calibration, broken)).rejects.toThrow(/layers\.0.*NaN/);
    const left = await readdir(join(folder, `${name} NaN`)).catch(() => []);
    expect(left).not.toContain('config.json');
  });
});
