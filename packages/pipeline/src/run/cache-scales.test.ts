import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import { type Checkpoint, compressedTensorsLayout, fp8Layout, openCheckpoint } from '@q/checkpoint';
import {
  bf16ToF32,
  createContext,
  f32ToBf16,
  int4,
  minMax,
  perGroup,
  type Quantizer,
  scheme,
  schemes,
  staticCacheSchemes,
} from '@q/core';
import { gptq as fullGptq } from '@q/gptq';
import { createForwardEngine } from '@q/kernels-wasm';
import { rtn } from '@q/rtn';
import { beforeAll, expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import type { Recipe } from '../recipe/recipe.js';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { runPlan } from './run.js';

const layouts = [compressedTensorsLayout(), fp8Layout()];
const [, fp8] = layouts;
const rounded: Recipe = {
  layout: fp8,
  rules: [{ match: /layers/, quantizer: rtn(), scheme: schemes.fp8RowWise }],
  kvCache: staticCacheSchemes.fp8,
  seed: 0,
};
const gptq = () => fullGptq({ fit: minMax(), importance: 'none', refineRounds: 0 });
const solved = (quantizer: Quantizer): Recipe => ({
  layout: layouts[0],
  rules: [{ match: /layers/, quantizer, scheme: scheme({ format: int4, granularity: perGroup(32) }) }],
  kvCache: staticCacheSchemes.int8,
  seed: 0,
});

const at = workbench();
let calibration: Windows;
beforeAll(async () => {
  calibration = await demoWindows(24, 3);
});

async function run(recipe: Recipe, name: string, signal?: AbortSignal): Promise<string> {
  const source = await openCheckpoint(demoModel, layouts);
  const out = join(at.folder, name);
  try {
    // Two windows at a time: the last batch has one.
    await runPlan(planRun(source, recipe, { count: 3, length: 24, batch: 2 }), {
      ...{ out, calibration, context: createContext({ kernels: at.kernels, signal }) },
      forward: () => createForwardEngine({ threads: 1 }),
    });
  } finally {
    await source.close();
  }
  return out;
}

/** The largest keys (positions applied) and values of each block over all windows: a Llama in f64. */
async function largestInF64(folder: string, { ids, count, length }: Windows): Promise<readonly [number, number][]> {
  const checkpoint = await openCheckpoint(folder, layouts);
  const config = checkpoint.config as Record<string, number>;
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const headDim = width / heads;
  const read = async (name: string) => (await checkpoint.weight(name)).data;
  const norm = (x: number[], gain: Float32Array) => {
    const root = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + config.rms_norm_eps);
    return x.map((value, i) => (value / root) * gain[i]);
  };
  const product = (weight: Float32Array, x: number[]) =>
    Array.from({ length: weight.length / x.length }, (_, row) =>
      x.reduce((sum, value, column) => sum + weight[row * x.length + column] * value, 0),
    );
  const turned = (x: number[], position: number) =>
    x.map((value, i) => {
      const [half, j] = [headDim / 2, i % headDim];
      const angle = position * (config.rope_theta ?? 10000) ** (-(2 * (j % half)) / headDim);
      return value * Math.cos(angle) + (j < half ? -x[i + half] : x[i - half]) * Math.sin(angle);
    });
  const table = await read('model.embed_tokens.weight');
  let hidden = Array.from(ids, (id) => Array.from(table.subarray(id * width, (id + 1) * width)));
  const found: [number, number][] = [];
  for (let block = 0; block < config.num_hidden_layers; block++) {
    const of = (name: string) => read(`model.layers.${block}.${name}.weight`);
    const linears = ['q', 'k', 'v', 'o'].map((name) => of(`self_attn.${name}_proj`));
    const [wq, wk, wv, wo, gate, up, down, before, after] = await Promise.all([
      ...linears,
      ...['gate', 'up', 'down'].map((name) => of(`mlp.${name}_proj`)),
      ...['input_layernorm', 'post_attention_layernorm'].map(of),
    ]);
    const inputs = hidden.map((x) => norm(x, before));
    const keys = inputs.map((x, token) => turned(product(wk, x), token % length));
    const values = inputs.map((x) => product(wv, x));
    const most = (rows: number[][]) => rows.flat().reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
    found.push([most(keys), most(values)]);
    hidden = hidden.map((x, token) => {
      const q = turned(product(wq, inputs[token]), token % length);
      const first = token - (token % length);
      const mixed = Array.from({ length: width }, () => 0);
      for (let head = 0; head < heads; head++) {
        const own = Math.floor((head * kvHeads) / heads) * headDim;
        const scores = Array.from({ length: token - first + 1 }, (_, t) => {
          let sum = 0;
          for (let c = 0; c < headDim; c++) sum += q[head * headDim + c] * keys[first + t][own + c];
          return Math.exp(sum / Math.sqrt(headDim));
        });
        const total = scores.reduce((a, b) => a + b);
        for (const [t, score] of scores.entries())
          for (let c = 0; c < headDim; c++) mixed[head * headDim + c] += (score / total) * values[first + t][own + c];
      }
      const attended = product(wo, mixed).map((value, i) => x[i] + value);
      const input = norm(attended, after);
      const opened = product(up, input);
      const inner = product(gate, input).map((g, i) => (g / (1 + Math.exp(-g))) * opened[i]);
      return product(down, inner).map((value, i) => attended[i] + value);
    });
  }
  expect(hidden.length).toBe(count * length);
  await checkpoint.close();
  return found;
}

const storedScales = async ({ model, cache }: Checkpoint) =>
  Promise.all((model?.blocks ?? []).map(({ attention }) => attention && cache?.scales(attention)));

it.each([
  ['round-to-nearest to FP8, which reads no statistics', rounded, 448],
  ['GPTQ', solved(gptq()), 127],
])('gives every block, the last one too, the scales of a calculation in f64: %s', async (_, recipe, largestCode) => {
  const out = await run(recipe, 'out');
  const written = await openCheckpoint(out, layouts);
  expect(written.cache?.scheme.format).toBe(recipe.kvCache?.format);
  const expected = await largestInF64(out, calibration);
  expect(expected.length).toBe(4);
  for (const [block, scales] of (await storedScales(written)).entries())
    for (const [side, largest] of [scales?.key as number, scales?.value as number].map(
      (scale, index) => [scale, expected[block][index]] as const,
    )) {
      // Scales have the dtype of the demo model. A sum in f32 may end on the other side of a border of bf16.
      const inFile = (scale: number) => bf16ToF32(f32ToBf16(scale));
      const wanted = largest / largestCode;
      expect(side, `block ${block}`).toBeGreaterThanOrEqual(inFile(wanted * (1 - 1e-5)));
      expect(side, `block ${block}`).toBeLessThanOrEqual(inFile(wanted * (1 + 1e-5)));
    }
  await written.close();
});

it('names tensors, dtypes and settings as compressed-tensors does, and changes no other byte', async () => {
  const [out, plain] = [await run(rounded, 'out'), await run({ ...rounded, kvCache: undefined }, 'plain')];
  const [written, without] = [await openCheckpoint(out, layouts), await openCheckpoint(plain, layouts)];
  const added = [...written.tensors].filter(([name]) => !without.tensors.has(name));
  expect(added.map(([name, { dtype, shape }]) => [name, dtype, shape])).toEqual(
    [0, 1, 2, 3].flatMap((block) =>
      ['k_scale', 'v_scale'].map((name) => [`model.layers.${block}.self_attn.${name}`, 'BF16', [1]]),
    ),
  );
  expect(written.cache?.tensors).toEqual(added.map(([name]) => name));
  for (const name of without.tensors.keys())
    expect(Buffer.compare(await written.readBytes(name), await without.readBytes(name)), name).toBe(0);
  const settings = ({ config }: Checkpoint) => config.quantization_config as Record<string, unknown>;
  expect(settings(written)).toEqual({
    ...settings(without),
    kv_cache_scheme: { num_bits: 8, type: 'float', symmetric: true, strategy: 'tensor', dynamic: false },
  });
  await written.close();
  await without.close();
});

it('goes on after an interrupt with the same bytes', async () => {
  const whole = await run(solved(gptq()), 'whole');
  let calls = 0;
  const controller = new AbortController();
  const interrupted: Quantizer = {
    ...gptq(),
    async quantize(...args) {
      // In the third of four blocks.
      if (++calls === 17) controller.abort();
      return gptq().quantize(...args);
    },
  };
  await expect(run(solved(interrupted), 'parts', controller.signal)).rejects.toThrow();
  await run(solved(gptq()), 'parts');
  for (const name of await readdir(whole))
    expect(await readFile(join(at.folder, 'parts', name)), name).toEqual(await readFile(join(whole, name)));
});
