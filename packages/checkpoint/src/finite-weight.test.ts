import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { f32Scale, int8, NumericError, perChannel, quantize, scheme, type Tensor, tensor } from '@q/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openCheckpoint } from './checkpoint.js';
import { compressedTensorsInt8Layout } from './compressed-tensors-int8/index.js';
import { tinyConfig, tinyTensors, writeModelFolder } from './testing/tiny-llama.js';

const layout = compressedTensorsInt8Layout();
const module = 'model.layers.0.self_attn.q_proj';
const name = `${module}.weight`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-finite-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** The weight of a folder in which it is int8, its scales multiplied by `factor`. */
async function weightWith(factor: number): Promise<Tensor<'f32'>> {
  const own = scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale });
  const linear = { module, inFeatures: 16, outFeatures: 16, transposed: false, bias: false };
  const tensors = tinyTensors();
  const quantized = quantize(tensors.get(name) as Tensor<'f32'>, own);
  const scaled = { ...quantized, scales: quantized.scales.map((scale) => scale * factor) };
  tensors.delete(name);
  for (const [part, value] of layout.encode({ linear, scheme: own }, scaled)) tensors.set(part, value);
  const kept = [...tensors.keys()].filter((each) => each.endsWith('_proj.weight') && each !== name);
  const { config } = layout.config(
    [{ linear, scheme: own }],
    [...kept.map((each) => each.replace('.weight', '')), 'lm_head'],
    { method: 'rtn', options: {} },
  );
  await writeModelFolder(folder, { ...tinyConfig, quantization_config: config }, tensors);
  const checkpoint = await openCheckpoint(folder, [layout]);
  try {
    return await checkpoint.weight(name);
  } finally {
    await checkpoint.close();
  }
}

it('gives the products of codes and scales, and refuses those that f32 does not hold', async () => {
  const [{ data }, { data: larger }] = [await weightWith(1), await weightWith(2)];
  expect(larger).toEqual(data.map((value) => 2 * value));
  // A scale is some 0.004 and a code up to 127: 3e40 times the scale is finite in f32, 127 times that is not.
  const error = await weightWith(3e40).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(NumericError);
  expect(error.message).toMatch(
    /model\.layers\.0\.self_attn\.q_proj holds -?Infinity at element \d+: its scales are beyond f32: repair/,
  );
});

it('refuses a stored value that is not finite', async () => {
  const tensors = tinyTensors();
  const values = (tensors.get(name) as Tensor<'f32'>).data.slice();
  values[7] = Number.NaN;
  tensors.set(name, tensor('f32', [16, 16], values));
  await writeModelFolder(folder, tinyConfig, tensors);
  const checkpoint = await openCheckpoint(folder, [layout]);
  await expect(checkpoint.weight(name)).rejects.toThrow(/q_proj\.weight holds NaN at element 7: repair/);
  await checkpoint.close();
});
