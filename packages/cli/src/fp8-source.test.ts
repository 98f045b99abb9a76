import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dequantize, quantize, schemes, type Tensor, tensor } from '@q/core';
import { createShardWriter, planShards } from '@q/safetensors';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyDecoders } from './testing/tiny-decoders.js';
import { writeTinyModel } from './testing/tiny-mixture.js';

let folder: string;
let source: string;
const values = new Map<string, Float32Array>();
/** A folder as DeepSeek-V3 and transformers write it: tiles of 128 x 128 and `weight_scale_inv`. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-fp8-'));
  const plain = join(folder, 'plain');
  source = join(folder, 'fp8');
  await writeTinyModel(plain, tinyDecoders['qwen3, norms on heads'] as Record<string, unknown>);
  const model = await openModel(plain, builtin);
  const tensors = new Map<string, Tensor>();
  for (const name of model.tensors.keys()) {
    const weight = await model.weight(name);
    if (!/_proj\.weight$/.test(name)) {
      tensors.set(name, weight);
      continue;
    }
    const quantized = quantize(weight, schemes.fp8BlockWise);
    const [rows, columns] = weight.shape;
    const tiles = [Math.ceil(rows / 128), Math.ceil(columns / 128)];
    tensors.set(name, tensor('f8_e4m3', weight.shape, quantized.codes as Uint8Array));
    tensors.set(`${name}_scale_inv`, tensor('f32', tiles, quantized.scales));
    values.set(name, dequantize(quantized).data);
  }
  await mkdir(source);
  const writer = await createShardWriter(
    source,
    planShards([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype: dtype.toUpperCase() as 'F32', shape }))),
  );
  for (const [name, each] of tensors) await writer.write(name, each);
  await writer.finish();
  const config = {
    ...model.config,
    quantization_config: {
      ...{ quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: [128, 128] },
    },
  };
  await writeFile(join(source, 'config.json'), JSON.stringify(config));
  await writeFile(join(source, 'ids.u16'), await readFile(join(plain, 'ids.u16')));
  await model.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('an FP8 folder with weight_scale_inv is a source: values in the plan, quantized again when that is allowed', async () => {
  const options = ['--method', 'rtn', '--weights', 'int8 g16', '--layout', 'plain', '--json'];
  const refused = await runCommand(['plan', source, ...options]);
  expect(refused.code).not.toBe(0);
  expect(refused.err).toContain('already quantized (fp8)');
  const plan = await runCommand(['plan', source, ...options, '--requantize']);
  expect(plan.code, plan.err).toBe(0);
  expect(JSON.parse(plan.out).notes.join('\n')).toMatch(
    /quantized as fp8: its values are read[\s\S]*activation_scheme/,
  );
  const model = await openModel(source, builtin);
  for (const [name, expected] of values) expect((await model.weight(name)).data).toEqual(expected);
  await model.close();
  const out = join(folder, 'out');
  const { code, err } = await runCommand(['quantize', source, out, ...options, '--requantize', '--no-eval']);
  expect(code, err).toBe(0);
  const text = ['--text', join(source, 'ids.u16'), '--length', '16', '--windows', '16', '--json'];
  const scored = await runCommand(['eval', out, '--against', source, ...text]);
  expect(scored.code, scored.err).toBe(0);
  expect(JSON.parse(scored.out).kl).toBeLessThan(0.01);
});
