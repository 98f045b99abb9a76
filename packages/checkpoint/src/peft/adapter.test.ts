import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError, type LowRankAdapter, type Tensor, tensor } from '@q/core';
import { describeModel } from '@q/models';
import { readSafetensorsFile, writeSafetensorsFile } from '@q/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readAdapter, writeAdapter } from './adapter.js';

const model = describeModel({
  ...{ model_type: 'gpt2', n_embd: 8, n_layer: 2, n_head: 2, n_inner: 12, vocab_size: 20, n_positions: 16 },
});
const modules = new Map(
  model.blocks
    .flatMap(({ linears }) => linears)
    .filter(({ module }) => module.endsWith('c_attn'))
    .map(({ module, inFeatures, outFeatures }) => [
      module,
      {
        a: tensor('f32', [2, inFeatures], new Float32Array(2 * inFeatures).fill(0.5)),
        b: tensor('f32', [outFeatures, 2], new Float32Array(2 * outFeatures).fill(-1)),
      },
    ]),
);
const adapter: LowRankAdapter = { rank: 2, alpha: 4, dropout: 0.1, modules };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-peft-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('an adapter of PEFT', () => {
  it('has its names, shapes and config, and comes back', async () => {
    await writeAdapter(folder, adapter, model, 'base');
    expect((await readdir(folder)).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    // What PEFT 0.21 writes for a Conv1D target.
    expect(JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'))).toMatchObject({
      ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', base_model_name_or_path: 'base', r: 2, lora_alpha: 4 },
      ...{ lora_dropout: 0.1, bias: 'none', target_modules: ['c_attn'], fan_in_fan_out: true },
    });
    const tensors = await readSafetensorsFile(join(folder, 'adapter_model.safetensors'));
    expect(tensors.get('base_model.model.transformer.h.1.attn.c_attn.lora_A.weight')?.shape).toEqual([2, 8]);
    expect(tensors.get('base_model.model.transformer.h.1.attn.c_attn.lora_B.weight')?.shape).toEqual([24, 2]);
    expect(await readAdapter(folder)).toEqual(adapter);
  });

  it('names linears in full when the last parts of their names say too much', async () => {
    const [first] = [...modules];
    await writeAdapter(folder, { ...adapter, modules: new Map([first]) }, model, 'base');
    const { target_modules } = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));
    expect(target_modules).toEqual(['transformer.h.0.attn.c_attn']);
  });

  it('is refused by name when it is of another kind or not whole', async () => {
    await expect(readAdapter(folder)).rejects.toThrow(/adapter_config.json: cannot be read/);
    await writeAdapter(folder, adapter, model, 'base');
    const path = join(folder, 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    for (const [change, message] of [
      [{ peft_type: 'PROMPT_TUNING' }, /peft_type "PROMPT_TUNING" is not supported/],
      [{ use_dora: true }, /use_dora/],
      [{ use_rslora: true }, /use_rslora/],
      ...['pissa', 'pissa_niter_16', 'olora', 'loftq', 'corda', 'lora_ga', 'one of tomorrow'].map(
        (name) => [{ init_lora_weights: name }, new RegExp(`init_lora_weights "${name}" changed the base`)] as const,
      ),
      [{ rank_pattern: { c_attn: 4 } }, /rank_pattern/],
      [{ bias: 'all' }, /bias "all"/],
      [{ r: 0 }, /r and lora_alpha are 0 and 4/],
      [{ r: 3 }, /factors of transformer.h.0.attn.c_attn are \[2,8\] and \[24,2\]; rank 3/],
    ] as const) {
      await writeFile(path, JSON.stringify({ ...config, ...change }));
      await expect(readAdapter(folder)).rejects.toThrow(message);
      await expect(readAdapter(folder)).rejects.toThrow(FormatError);
    }
    await writeFile(path, '{');
    await expect(readAdapter(folder)).rejects.toThrow(/not valid JSON/);
    await writeFile(path, JSON.stringify(config));
    const weights = join(folder, 'adapter_model.safetensors');
    const tensors = await readSafetensorsFile(weights);
    const half = new Map([...tensors].filter(([name]) => !name.endsWith('0.attn.c_attn.lora_B.weight')));
    await writeSafetensorsFile(weights, half);
    await expect(readAdapter(folder)).rejects.toThrow(/has lora_A and not lora_B/);
    await writeSafetensorsFile(
      weights,
      new Map([['base_model.model.x.weight', tensor('f32', [1], Float32Array.of(1))]]),
    );
    await expect(readAdapter(folder)).rejects.toThrow(/is not a factor of a linear/);
    for (const [damaged, message] of [
      [tensor('i32', [2, 8]), /lora_A\.weight is i32 \[2,8\]; a matrix of f32/],
      [tensor('f32', [16]), /is f32 \[16\]; a matrix/],
      [tensor('f32', [2, 8], new Float32Array(16).fill(Number.NaN)), /holds NaN at element 0/],
    ] as const) {
      await writeSafetensorsFile(
        weights,
        new Map(
          [...tensors].map(([name, each]) => [name, name.endsWith('lora_A.weight') ? (damaged as Tensor) : each]),
        ),
      );
      await expect(readAdapter(folder)).rejects.toThrow(message);
    }
    await writeSafetensorsFile(weights, tensors);
    for (const harmless of [true, false, 'gaussian', 'eva', 'orthogonal']) {
      await writeFile(path, JSON.stringify({ ...config, init_lora_weights: harmless }));
      expect(await readAdapter(folder)).toEqual(adapter);
    }
    const headless = { ...model, headless: true as const };
    await expect(writeAdapter(folder, adapter, headless, 'base')).rejects.toThrow(/without its head/);
  });
});
