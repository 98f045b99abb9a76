import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dequantize, type Tensor, tensor } from '@q/core';
import { openShards, writeSafetensorsFile } from '@q/safetensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';
import { writeTinyEncoder } from './testing/tiny-encoder.js';
import { tinyGptOss, writeTinyModel } from './testing/tiny-mixture.js';
import { openTokenizer } from './texts.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-gguf-source-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A byte-level tokenizer of 48 tokens. */
const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const bytePairs = {
  added_tokens: [{ id: 47, content: '<|end|>', special: true }],
  pre_tokenizer: byteLevel,
  decoder: byteLevel,
  model: {
    type: 'BPE',
    vocab: Object.fromEntries([...letters, 'Ġ', 'th', 'the', 'Ġa', '!', '1', '2'].map((token, id) => [token, id])),
    merges: ['t h', 'th e', 'Ġ a'],
  },
};

async function convert(model: string, out: string, ...options: string[]): Promise<string> {
  const { code, err } = await runCommand(['convert', model, out, '--to', 'gguf', '--threads', '1', ...options]);
  expect(code, err).toBe(0);
  return out;
}

const shared = {
  ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ max_position_embeddings: 64, rms_norm_eps: 1e-5, vocab_size: 48, tie_word_embeddings: false },
};
const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16 };
const gemma = { ...shared, head_dim: 16, tie_word_embeddings: true };
const families: Readonly<Record<string, Record<string, unknown>>> = {
  llama: { ...shared, model_type: 'llama', rope_theta: 5000 },
  'llama, biases and a tied head': {
    ...{ ...shared, model_type: 'llama', attention_bias: true, mlp_bias: true, tie_word_embeddings: true },
  },
  'llama 3.1': {
    ...{ ...shared, model_type: 'llama', head_dim: 32 },
    rope_scaling: {
      ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 32,
    },
  },
  'llama, linear positions': { ...shared, model_type: 'llama', rope_scaling: { rope_type: 'linear', factor: 4 } },
  mixtral: { ...shared, model_type: 'mixtral', num_local_experts: 4, num_experts_per_tok: 2 },
  qwen2: { ...shared, model_type: 'qwen2' },
  qwen3: { ...shared, model_type: 'qwen3', head_dim: 16 },
  qwen2_moe: {
    ...{ ...shared, model_type: 'qwen2_moe', num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 32 },
    shared_expert_intermediate_size: 48,
  },
  qwen3_moe: {
    ...{ ...shared, model_type: 'qwen3_moe', num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 32 },
    ...{ norm_topk_prob: true, head_dim: 8 },
  },
  gpt_oss: { ...tinyGptOss, rope_scaling: yarn },
  gemma: { ...gemma, model_type: 'gemma' },
  gemma2: { ...gemma, model_type: 'gemma2', query_pre_attn_scalar: 16, sliding_window: 4 },
  gemma3: {
    ...{ ...gemma, model_type: 'gemma3_text', num_hidden_layers: 6, query_pre_attn_scalar: 16, sliding_window: 4 },
    sliding_window_pattern: 6,
  },
  phi3: { ...shared, model_type: 'phi3', partial_rotary_factor: 0.5 },
  'phi3, LongRoPE': {
    ...{ ...shared, model_type: 'phi3', original_max_position_embeddings: 8 },
    rope_scaling: { type: 'longrope', long_factor: [1, 2, 3, 4], short_factor: [1, 1, 1.5, 2] },
  },
  olmo2: { ...shared, model_type: 'olmo2', num_key_value_heads: 4 },
  smollm3: { ...shared, model_type: 'smollm3', num_hidden_layers: 4 },
  granite: {
    ...{ ...shared, model_type: 'granite', embedding_multiplier: 2, residual_multiplier: 0.5 },
    ...{ attention_multiplier: 0.3, logits_scaling: 2 },
  },
  gpt_neox: { ...shared, model_type: 'gpt_neox', rotary_pct: 0.25 },
  gpt2: {
    ...{ model_type: 'gpt2', n_embd: 32, n_layer: 2, n_head: 4, n_positions: 64, vocab_size: 48 },
    tie_word_embeddings: true,
  },
};

describe.each(Object.entries(families))('a GGUF file of %s', (name, config) => {
  it('is the model that it was made of', async () => {
    const model = join(folder, name);
    await writeTinyModel(model, config);
    await writeFile(join(model, 'tokenizer.json'), JSON.stringify(bytePairs));
    await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>' }));
    const file = await convert(model, `${model}.gguf`, '--type', 'f32', '--output', 'f32', '--embeddings', 'f32');
    const [own, original] = [await openModel(file, builtin), await openModel(model, builtin)];
    expect(own.roundedTo).toBeUndefined();
    expect([...own.tensors.keys()].sort()).toEqual([...original.tensors.keys()].sort());
    for (const [tensor, { shape }] of original.tensors) {
      expect(own.tensors.get(tensor)?.shape, tensor).toEqual(shape);
      const [values, expected] = [await own.weight(tensor), await original.weight(tensor)];
      let most = 0;
      for (const [i, value] of values.data.entries()) most = Math.max(most, Math.abs(value - expected.data[i]));
      expect(most, tensor).toBeLessThan(3e-7);
      const bytes = await own.readBytes(tensor, 8, 24);
      expect(bytes, tensor).toEqual((await own.readBytes(tensor)).subarray(8, 24));
    }
    await own.close();
    await original.close();
    const text = ['--text', join(model, 'ids.u16'), '--length', '16', '--windows', '8', '--threads', '1', '--json'];
    const { code, out, err } = await runCommand(['eval', file, '--against', model, ...text]);
    expect(code, err).toBe(0);
    expect(JSON.parse(out).kl).toBeLessThan(1e-9);
  });
});

describe('a GGUF file of the demo model', () => {
  let file: string;
  beforeAll(async () => {
    file = await convert(demo.model, join(folder, 'demo.gguf'), '--type', 'q4_0');
  });

  it('cuts text as the folder does', async () => {
    const [own, original] = [await openTokenizer(file), await openTokenizer(demo.model)];
    const text = 'Once upon a time, 12 cats\n\n\tsaid "hi" in naïve 日本語 \u{1F600}  two  spaces; x = y**2;';
    expect(own.encode(text)).toEqual(original.encode(text));
    expect(own.decode(own.encode(text))).toBe(original.decode(original.encode(text)));
    expect([own.opening, own.closing, own.bosId]).toEqual([original.opening, original.closing, original.bosId]);
  });

  it('is refused by name where it would be quantized again, and taken with --requantize', async () => {
    const method = ['--method', 'rtn', '--group', '32', '--threads', '1'];
    const refused = await runCommand(['plan', file, ...method]);
    expect(refused.code).toBe(1);
    expect(refused.err).toMatch(/already quantized \(Q4_0\).*--requantize/);
    const planned = await runCommand(['plan', file, ...method, '--requantize']);
    expect(planned.out).toMatch(/the source is quantized as Q4_0/);
    const out = join(folder, 'again');
    const { code, err } = await runCommand(['quantize', file, out, ...method, '--requantize', '--no-eval']);
    expect(code, err).toBe(0);
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8'))).toMatchObject({ model_type: 'llama' });
    const tokens = (await openTokenizer(out)).encode('Once upon a time');
    expect(tokens).toEqual((await openTokenizer(demo.model)).encode('Once upon a time'));
  });

  it('writes text, and is inspected', async () => {
    const words = ['--prompt', 'Once upon', '--tokens', '4', '--greedy', '--json', '--threads', '1'];
    const [own, original] = await Promise.all(
      [file, demo.model].map((model) => runCommand(['generate', model, ...words])),
    );
    expect(own.code, own.err).toBe(0);
    expect(JSON.parse(own.out).ids).toHaveLength(JSON.parse(original.out).ids.length);
    expect((await runCommand(['inspect', file])).out).toMatch(/quantized: Q4_0/);
  });

  it('is cast to a folder', async () => {
    const out = join(folder, 'cast');
    const { code, err } = await runCommand(['cast', file, out, '--dtype', 'bf16']);
    expect(code, err).toBe(0);
    const cast = await openModel(out, builtin);
    expect(cast.tensors.get('model.layers.0.mlp.up_proj.weight')?.dtype).toBe('BF16');
    await cast.close();
  });
});

describe('codes of a GGUF file', () => {
  let model: string;
  beforeAll(async () => {
    model = join(folder, 'wide');
    const sizes = { hidden_size: 256, intermediate_size: 256 };
    await writeTinyModel(model, { ...shared, ...sizes, model_type: 'llama', tie_word_embeddings: true });
    await writeFile(join(model, 'tokenizer.json'), JSON.stringify(bytePairs));
    await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>' }));
  });

  it.each(['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'q2_k', 'q3_k_s', 'q4_k', 'q5_k', 'q6_k'])(
    'stand for the values of %s, and the forward pass takes them packed',
    async (type) => {
      const file = await convert(model, join(folder, `${type}.gguf`), '--type', type, '--output', 'q8_0');
      const checkpoint = await openModel(file, builtin);
      const { modules, codes } = checkpoint.coded!;
      expect(modules).toHaveLength(15);
      for (const module of modules) {
        const [values, { data }] = [dequantize((await codes(module))!), await checkpoint.weight(`${module}.weight`)];
        const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        let most = 0;
        for (const [i, value] of data.entries()) most = Math.max(most, Math.abs(value - values.data[i]!));
        expect(most / largest, module).toBeLessThan(2e-6);
      }
      await checkpoint.close();
      const prompt = ['--prompt', 'the', '--tokens', '2', '--greedy', '--threads', '1', '--json'];
      const { code, err } = await runCommand(['generate', file, ...prompt]);
      expect(code, err).toBe(0);
      expect(err).toMatch(/15 quantized linears stay packed, 0 run as f32/);
    },
  );
});

it('projections of gpt-oss that a file has in F16 and in F32 are read as one tensor', async () => {
  const model = join(folder, 'oss-small-gates');
  await writeTinyModel(model, tinyGptOss);
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify(bytePairs));
  await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>' }));
  // Gates, at even columns of the file, are too small for F16: the conversion keeps them in F32.
  const path = join(model, 'model.safetensors');
  const shards = await openShards(model);
  const name = 'model.layers.0.mlp.experts.gate_up_proj';
  const stack = await shards.read(name);
  const values = (stack.data as Float32Array).map((value, i) => (i % 2 === 0 ? 1e-8 * value : value));
  const all = await Promise.all(
    [...shards.entries.keys()].map(
      async (each): Promise<[string, Tensor]> => [
        each,
        each === name ? tensor('f32', stack.shape, values) : await shards.read(each),
      ],
    ),
  );
  await shards.close();
  await writeSafetensorsFile(path, new Map(all));
  const file = await convert(model, `${model}.gguf`, '--type', 'f16');
  const [own, original] = [await openModel(file, builtin), await openModel(model, builtin)];
  const weight = 'model.layers.0.mlp.experts.2.gate_up_proj.weight';
  const [found, wanted] = [await own.weight(weight), await original.weight(weight)];
  for (const [i, value] of wanted.data.entries())
    expect(Math.abs(found.data[i]! - value)).toBeLessThanOrEqual(Math.abs(value) / 1024);
  await own.close();
  await original.close();
});

it('experts of gpt-oss in MXFP4 are the same values in a GGUF file', async () => {
  const [model, rounded] = [join(folder, 'oss'), join(folder, 'oss-mxfp4')];
  await writeTinyModel(model, tinyGptOss);
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify(bytePairs));
  await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>' }));
  const made = await runCommand([
    'quantize',
    model,
    rounded,
    '--method',
    'rtn',
    '--layout',
    'mxfp4',
    '--no-eval',
    '--threads',
    '1',
  ]);
  expect(made.code, made.err).toBe(0);
  const file = await convert(rounded, `${rounded}.gguf`, '--type', 'mxfp4_moe', '--requantize');
  const [own, source] = [await openModel(file, builtin), await openModel(rounded, builtin)];
  for (const name of [1, 3].flatMap((index) => [`${index}.gate_up_proj`, `${index}.down_proj`])) {
    const tensor = `model.layers.1.mlp.experts.${name}.weight`;
    // Zeros have a sign in the folder alone.
    const [found, wanted] = [await own.weight(tensor), await source.weight(tensor)].map(({ data }) =>
      data.map((x) => x + 0),
    );
    expect(found, tensor).toEqual(wanted);
  }
  await own.close();
  await source.close();
});

describe('an encoder in a GGUF file', () => {
  it('gives the same vectors, and pools as the folder does', async () => {
    const model = join(folder, 'encoder');
    await writeTinyEncoder(model);
    const file = await convert(
      model,
      join(folder, 'encoder.gguf'),
      '--type',
      'f32',
      '--output',
      'f32',
      '--embeddings',
      'f32',
    );
    const vectors = await Promise.all(
      [file, model].map(async (each) => {
        const lines = ['--text', join(model, 'lines.txt'), '--json', '--threads', '1'];
        const { code, out, err } = await runCommand(['embed', each, ...lines]);
        expect(code, err).toBe(0);
        return JSON.parse(out).embeddings.flat() as number[];
      }),
    );
    expect(vectors[0].length).toBe(vectors[1].length);
    expect(Math.max(...vectors[0].map((value, i) => Math.abs(value - vectors[1][i])))).toBeLessThan(1e-6);
  });
});

describe('a SentencePiece tokenizer in a GGUF file', () => {
  it('joins the same pairs', async () => {
    const model = join(folder, 'pieces');
    await writeTinyModel(model, { ...shared, model_type: 'llama' });
    const bytes = [0x0a, 0xc3, 0xa9].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    const vocab = ['<unk>', '<s>', '</s>', ...bytes, '▁', ...letters, '▁t', 'he', '▁the', 'in', '▁▁'];
    const tokenizer = {
      added_tokens: vocab.slice(0, 3).map((content, id) => ({ id, content, special: true })),
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      pre_tokenizer: null,
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          ...[{ type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }],
        ],
      },
      model: {
        ...{ type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true },
        vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
        merges: ['▁ t', 'h e', '▁t he', 'i n', '▁ ▁'],
      },
    };
    await writeFile(join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
    await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: '</s>' }));
    const file = await convert(model, join(folder, 'pieces.gguf'), '--type', 'f32');
    const [own, original] = [await openTokenizer(file), await openTokenizer(model)];
    for (const text of ['the thin  inn', 'é\nthe', ' a', 'in</s>the<s>']) {
      expect(own.encode(text), text).toEqual(original.encode(text));
      expect(own.decode(own.encode(text)), text).toBe(original.decode(original.encode(text)));
    }
    expect([own.opening, own.bosId]).toEqual([original.opening, original.bosId]);
  });
});

describe('a folder of quantized linears', () => {
  it('is quantized again with --requantize, and its settings are left behind', async () => {
    const [first, second] = [join(folder, 'gptq-folder'), join(folder, 'plain-folder')];
    const run = (...args: string[]) => runCommand(['quantize', ...args, '--no-eval', '--threads', '1']);
    expect((await run(demo.model, first, '--method', 'rtn', '--group', '32', '--layout', 'gptq')).code).toBe(0);
    const plain = ['--method', 'rtn', '--bits', '8', '--group', '32', '--layout', 'plain'];
    expect((await run(first, second, ...plain)).err).toMatch(/already quantized \(gptq\).*--requantize/);
    const { code, err } = await run(first, second, ...plain, '--requantize');
    expect(code, err).toBe(0);
    const [one, other] = [await openModel(first, builtin), await openModel(second, builtin)];
    expect(other.layout).not.toBe(one.layout);
    const name = 'model.layers.0.mlp.up_proj.weight';
    const [values, expected] = [await other.weight(name), await one.weight(name)];
    let [off, all] = [0, 0];
    for (const [i, value] of values.data.entries()) {
      off += (value - expected.data[i]) ** 2;
      all += expected.data[i] ** 2;
    }
    expect(Math.sqrt(off / all)).toBeLessThan(0.01);
    await one.close();
    await other.close();
  });
});
