import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor } from '@q/core';
import { openFile } from '@q/safetensors';
import { afterAll, describe, expect, it } from 'vitest';
import { f32Block } from '../blocks/float-blocks.js';
import { readGgufHeader } from '../header.js';
import { readGgufTensor } from '../read-tensor.js';
import type { ConversionSource } from './conversion.js';
import { convertModel } from './convert-model.js';
import { planModel } from './plan-model.js';
import { interleaveHalves, inverseOrder, splitFusedHeads } from './row-orders.js';
import { preTokenizerName } from './tokenizer/pre-tokenizer.js';
import { writeModel } from './write-model.js';

const folder = await mkdtemp(join(tmpdir(), 'gguf-convert-'));
afterAll(() => rm(folder, { recursive: true }));

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
const tokenizer = {
  added_tokens: [{ id: 3, content: '<|end|>', special: true }],
  pre_tokenizer: byteLevel,
  decoder: byteLevel,
  model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] },
};

/** Each value is its tensor's number, its row and its column. */
function source(
  config: Record<string, unknown>,
  shapes: Record<string, readonly number[]>,
  files = {},
): ConversionSource {
  const names = Object.keys(shapes);
  return {
    name: 'models/tiny',
    config,
    shapes: new Map(Object.entries(shapes)),
    tokenizer: { tokenizer, config: { eos_token: '<|end|>' }, ...files },
    async rows(name, begin, end) {
      const columns = shapes[name].length > 1 ? (shapes[name].at(-1) as number) : 1;
      const data = Float32Array.from({ length: (end - begin) * columns }, (_, i) => {
        const [row, column] = [begin + Math.floor(i / columns), i % columns];
        return 1000 * names.indexOf(name) + 10 * row + column;
      });
      return { dtype: 'f32', data };
    },
  };
}

const llama = {
  ...{ model_type: 'llama', hidden_size: 4, intermediate_size: 6, num_attention_heads: 2, num_key_value_heads: 1 },
  ...{ num_hidden_layers: 1, max_position_embeddings: 16, vocab_size: 4, rms_norm_eps: 1e-5, head_dim: 4 },
};
const shapes = {
  'model.embed_tokens.weight': [4, 4],
  'model.layers.0.self_attn.q_proj.weight': [8, 4],
  'model.layers.0.self_attn.k_proj.weight': [4, 4],
  'model.norm.weight': [4],
};

describe('convertModel', () => {
  it('writes names, hyperparameters, tokenizer and values, rotary halves interleaved', async () => {
    const tiny = source(llama, shapes);
    const model = convertModel(tiny);
    const path = join(folder, 'tiny.gguf');
    await writeModel(tiny, model, planModel(model, { type: f32Block }, 'tiny'), path);
    const file = await openFile(path);
    const { metadata, tensors } = await readGgufHeader(file);
    const value = (key: string) => metadata.get(key)?.value;
    expect(value('general.architecture')).toBe('llama');
    expect(value('general.name')).toBe('tiny');
    expect(value('llama.attention.head_count_kv')).toBe(1);
    expect(value('llama.attention.key_length')).toBe(4);
    expect(value('tokenizer.ggml.pre')).toBe('gpt-2');
    expect(value('tokenizer.ggml.tokens')).toEqual(['a', 'b', 'ab', '<|end|>']);
    expect(value('tokenizer.ggml.token_type')).toEqual([1, 1, 1, 3]);
    expect(value('tokenizer.ggml.merges')).toEqual(['a b']);
    expect(value('tokenizer.ggml.eos_token_id')).toBe(3);
    expect(value('tokenizer.ggml.add_bos_token')).toBe(false);
    expect([...tensors.keys()]).toEqual([
      ...['token_embd.weight', 'blk.0.attn_q.weight', 'blk.0.attn_k.weight', 'output_norm.weight'],
    ]);
    const q = tensors.get('blk.0.attn_q.weight');
    const values = q && (await readGgufTensor(file, q));
    // First columns: the tensor is the second one, rows 0 2 1 3 of each of two heads.
    expect(values?.filter((_, i) => i % 4 === 0)).toEqual(
      Float32Array.from([0, 2, 1, 3, 4, 6, 5, 7], (row) => 1000 + 10 * row),
    );
    await file.close();
  });

  it.each(['score.weight', 'qa_outputs.weight'])('refuses a decoder with %s in plain words', (head) => {
    const classifier = source(llama, { ...shapes, [head]: [2, 4] });
    expect(() => convertModel(classifier)).toThrow(
      new RegExp(`models/tiny: tensor ${head} is a head that gives .* only a head for the next token`),
    );
    expect(convertModel(source(llama, shapes)).notes).toEqual([]);
  });

  it('stacks the experts of a block in their order', () => {
    const mixture = { ...llama, model_type: 'mixtral', num_local_experts: 2, num_experts_per_tok: 1 };
    const experts = Object.fromEntries(
      [1, 0].map((expert) => [`model.layers.0.block_sparse_moe.experts.${expert}.w1.weight`, [6, 4]]),
    );
    const { tensors, metadata } = convertModel(source(mixture, { ...shapes, ...experts }));
    const stacked = tensors.find(({ name }) => name === 'blk.0.ffn_gate_exps.weight');
    expect(stacked?.shape).toEqual([2, 6, 4]);
    expect(stacked?.from.map((name) => name.split('.')[5])).toEqual(['0', '1']);
    expect(metadata.get('llama.expert_used_count')?.value).toBe(1);
  });

  it('adds 1 to the norms of Gemma, which multiply by 1 + w', () => {
    const { tensors } = convertModel(source({ ...llama, model_type: 'gemma2', tie_word_embeddings: true }, shapes));
    expect(tensors.find(({ name }) => name === 'output_norm.weight')?.plus).toBe(1);
  });

  it('takes Gemma 3 in both directions for EmbeddingGemma', () => {
    const gemma = { ...llama, model_type: 'gemma3_text', sliding_window: 8, tie_word_embeddings: true };
    const dense = [{ weight: tensor('f32', [8, 4], new Float32Array(32)), more: false }];
    expect(convertModel(source(gemma, shapes)).metadata.get('general.architecture')?.value).toBe('gemma3');
    const both = { ...source({ ...gemma, use_bidirectional_attention: true }, shapes), dense };
    const { metadata, tensors } = convertModel(both);
    expect(metadata.get('general.architecture')?.value).toBe('gemma-embedding');
    expect(metadata.get('gemma-embedding.dense_2_feat_out')?.value).toBe(8);
    expect(tensors.find(({ name }) => name === 'dense_2.weight')?.shape).toEqual([8, 4]);
    expect(() => convertModel({ ...source(gemma, shapes), dense })).toThrow(/1 linear layers after the pooling/);
  });

  it.each([
    [
      'a model that llama.cpp does not know',
      { ...llama, model_type: 'opt' },
      shapes,
      {},
      /model_type "opt"; GGUF files can be/,
    ],
    [
      'a tensor without a place',
      llama,
      { ...shapes, 'model.layers.0.extra.weight': [2] },
      {},
      /extra\.weight has no name/,
    ],
    ['a folder without a tokenizer', llama, shapes, { tokenizer: undefined }, /has no tokenizer\.json/],
    [
      'a way to cut text that has no name',
      llama,
      shapes,
      {
        tokenizer: {
          ...tokenizer,
          pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: 'x' } }, byteLevel] },
        },
      },
      /give the name with --pre-tokenizer/,
    ],
    [
      'more tokens than embeddings',
      llama,
      { ...shapes, 'model.embed_tokens.weight': [3, 4] },
      {},
      /has id 3, the embeddings have 3/,
    ],
    [
      'positions that cannot be written',
      { ...llama, rope_scaling: { rope_type: 'dynamic', factor: 2 } },
      shapes,
      {},
      /linear, yarn and llama3/,
    ],
    [
      'heads without pairs of values',
      { ...llama, head_dim: 3 },
      shapes,
      {},
      /"head_dim" is 3: rotary positions need an even size/,
    ],
    ['gpt-oss with another limit', { ...llama, model_type: 'gpt_oss', swiglu_limit: 6 }, shapes, {}, /takes it as 7/],
    [
      'gpt-oss without biases',
      { ...llama, model_type: 'gpt_oss', attention_bias: false },
      shapes,
      {},
      /llama\.cpp needs the biases/,
    ],
    [
      'gpt-oss with windows in other layers',
      { ...llama, model_type: 'gpt_oss', layer_types: ['full_attention', 'sliding_attention'] },
      shapes,
      {},
      /every second layer, from the first/,
    ],
  ])('refuses %s', (_, config, tensors, files, message) => {
    expect(() => convertModel(source(config, tensors, files))).toThrow(message);
  });
});

describe('orders of rows', () => {
  it('are undone by their inverse', () => {
    const order = interleaveHalves(16, 2);
    expect([...inverseOrder(order)].map((row) => order[row])).toEqual([...order.keys()]);
  });

  it('split fused heads into all queries, all keys, all values', () => {
    // Two heads of one row each: q0 k0 v0 q1 k1 v1.
    expect([...splitFusedHeads(6, 2)]).toEqual([0, 3, 1, 4, 2, 5]);
  });
});

describe('preTokenizerName', () => {
  const split = (expression: string) => ({
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: expression }, behavior: 'Isolated' },
      { ...byteLevel, use_regex: false },
    ],
  });
  const rest = '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
  const words = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  it.each([
    ['gpt-2', byteLevel],
    ['smollm', { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel] }],
    ['llama-bpe', split(`${words}\\p{N}{1,3}${rest}`)],
    ['qwen2', split(`${words}\\p{N}${rest}`)],
    [undefined, split('[a-z]+')],
    [undefined, { type: 'Whitespace' }],
  ])('%s', (name, preTokenizer) => {
    expect(preTokenizerName(preTokenizer)).toBe(name);
  });
});
