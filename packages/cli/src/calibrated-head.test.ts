import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { writeTinyModel } from './testing/tiny-mixture.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-head-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const quantize = async (model: string, name: string, ...options: string[]) => {
  const { code, out, err } = await runCommand([
    ...['quantize', model, join(folder, name), '--layout', 'plain', '--no-eval', '--json', ...options],
  ]);
  expect(code, err).toBe(0);
  return JSON.parse(out).layers as {
    module: string;
    method: string;
    tokens: number;
    error: number;
    rtnError: number;
  }[];
};

describe.each([
  ['untied', false, 'lm_head', ['--head', 'int4 g16']],
  ['tied, by the option of heads', true, 'model.embed_tokens', ['--head', 'int4 g16']],
  ['tied, by the option of embeddings', true, 'model.embed_tokens', ['--embeddings', 'int4 g16']],
] as const)('a head, %s', (name, tied, module, options) => {
  let model: string;
  let text: string[];
  beforeAll(async () => {
    model = join(folder, name);
    await writeTinyModel(model, {
      ...{ model_type: 'llama', hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4 },
      ...{ num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5, vocab_size: 48 },
      tie_word_embeddings: tied,
    });
    text = ['--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '40', '--group', '16'];
  });

  it('is rounded by what the final norm gives, once for both uses, and better than to nearest', async () => {
    const layers = await quantize(model, `${name} gptq`, ...text, ...options);
    expect(layers.filter((layer) => layer.module === module).length).toBe(1);
    const head = layers.find((layer) => layer.module === module);
    expect(head).toMatchObject({ method: 'gptq', tokens: 640 });
    expect(head!.error).toBeLessThan(0.8 * head!.rtnError);
    const without = await quantize(model, `${name} rtn`, '--method', 'rtn', '--group', '16', ...options);
    expect(without.find((layer) => layer.module === module)).toMatchObject({ method: 'rtn', tokens: 0 });
    const opened = await openModel(join(folder, `${name} gptq`), builtin);
    expect(opened.quantizedModules).toContain(module);
    await opened.close();
  });

  it('gives the same bytes when the run is done again', async () => {
    await quantize(model, `${name} again`, ...text, ...options);
    const bytes = (folderName: string) => readFile(join(folder, folderName, 'model.safetensors'));
    expect(Buffer.compare(await bytes(`${name} again`), await bytes(`${name} gptq`))).toBe(0);
  });
});
