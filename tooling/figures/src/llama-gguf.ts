import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeF16, toF32 } from '@q/core';
import { createGgufWriter, f16Block, f32Block, type GgufValue, ggufTensorTypeFor, planGgufFile } from '@q/gguf';
import { openShards } from '@q/safetensors';

/** The parts of a Llama's config.json that are read. */
interface LlamaConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta?: number;
  readonly rope_parameters?: { readonly rope_theta?: number };
  readonly bos_token_id?: number;
  readonly eos_token_id?: number;
}

/** A byte-level BPE without exceptions, as in the demo model and the shared models. */
interface Tokenizer {
  readonly added_tokens: readonly { readonly id: number }[];
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

/** llama.cpp's names for Hugging Face's parts of a tensor's name (docs/reference/file-formats.md#names-of-gguf). */
const parts: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

function ggufName(name: string): string {
  const [, layer, part] = /^(?:model\.layers\.(\d+)\.)?(.*)\.weight$/.exec(name) ?? [];
  return `${layer === undefined ? '' : `blk.${layer}.`}${parts[part]}.weight`;
}

const text = (value: string): GgufValue => ({ type: 'string', value });
const count = (value: number): GgufValue => ({ type: 'u32', value });

/**
 * Writes a plain Llama folder as GGUF for tests and benchmarks: matrices in f16, norms in f32. If the folder has a
 * tokenizer, the file has it too, so llama.cpp can run it. Returns the file's bytes.
 */
export async function writeLlamaGguf(path: string, folder: string): Promise<number> {
  const config: LlamaConfig = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
  const tokenizer = await readFile(join(folder, 'tokenizer.json'), 'utf8').catch(() => undefined);
  const metadata = new Map([
    ...modelMetadata(config),
    ...(tokenizer ? tokenizerMetadata(JSON.parse(tokenizer), config) : []),
  ]);
  const shards = await openShards(folder);
  const tensors = [...shards.entries.values()].map(({ name, shape }) => ({
    from: name,
    name: ggufName(name),
    type: ggufTensorTypeFor(shape.length > 1 ? f16Block : f32Block),
    shape,
  }));
  const plan = planGgufFile(metadata, tensors);
  const writer = await createGgufWriter(path, plan);
  for (const { from, name, type, shape } of tensors) {
    let values = toF32(await shards.read(from));
    if (name.endsWith('attn_q.weight')) values = interleaveHalves(values, config.num_attention_heads, shape[1]);
    if (name.endsWith('attn_k.weight')) values = interleaveHalves(values, config.num_key_value_heads, shape[1]);
    const data = type.format === f16Block ? encodeF16(values) : values;
    await writer.write(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  await writer.finish();
  await shards.close();
  return plan.byteLength;
}

/**
 * llama.cpp rotates neighbouring rows of a head; Hugging Face rotates rows half a head apart
 * (docs/reference/file-formats.md#names-of-gguf).
 */
function interleaveHalves(values: Float32Array, heads: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  const headRows = values.length / columns / heads;
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < headRows; i++) {
      const from = (head * headRows + (i % 2) * (headRows / 2) + (i >> 1)) * columns;
      out.set(values.subarray(from, from + columns), (head * headRows + i) * columns);
    }
  return out;
}

function modelMetadata(config: LlamaConfig): readonly (readonly [string, GgufValue])[] {
  return [
    ['general.architecture', text('llama')],
    ['general.name', text('llama')],
    ['general.file_type', count(1)],
    ['llama.vocab_size', count(config.vocab_size)],
    ['llama.context_length', count(config.max_position_embeddings)],
    ['llama.embedding_length', count(config.hidden_size)],
    ['llama.block_count', count(config.num_hidden_layers)],
    ['llama.feed_forward_length', count(config.intermediate_size)],
    ['llama.attention.head_count', count(config.num_attention_heads)],
    ['llama.attention.head_count_kv', count(config.num_key_value_heads)],
    ['llama.rope.dimension_count', count(config.hidden_size / config.num_attention_heads)],
    ['llama.rope.freq_base', { type: 'f32', value: config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10000 }],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: config.rms_norm_eps }],
  ];
}

function tokenizerMetadata(
  { added_tokens, model }: Tokenizer,
  { vocab_size, bos_token_id, eos_token_id }: LlamaConfig,
): readonly (readonly [string, GgufValue])[] {
  const tokens = Array.from({ length: vocab_size }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => 5);
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = token;
    types[id] = 1;
  }
  for (const { id } of added_tokens) types[id] = 3;
  const merges = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
  return [
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('gpt-2')],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
    ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: merges }],
    ['tokenizer.ggml.bos_token_id', count(bos_token_id ?? 0)],
    ['tokenizer.ggml.eos_token_id', count(eos_token_id ?? 0)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: false }],
  ];
}
