import { dirname, join } from 'node:path';
import { encodeF16, f16Block, f32Block, toF32 } from '@q/core';
import type { LlamaShape } from '@q/figures/llama-shape';
import { createGgufWriter, type GgufValue, ggufTensorTypeFor, planGgufFile } from '@q/gguf';
import { openShards } from '@q/safetensors';
import type { Command } from './measured-process.js';
import { findPeers, type PeerEnvironment, peerScripts, startPeer } from './peer-process.js';

/** llama.cpp's own quantizer; embeddings and output stay as they are. */
export interface LlamaCpp {
  /**
   * In a process that is there already.
   * @param type `Q4_0` or `Q4_K`, for all linears
   */
  quantize(from: string, to: string, type: string): Promise<void>;
  /** The same from the start of a process to its end. */
  command(from: string, to: string, type: string): Command;
  close(): void;
}

/** llama-cpp-python compiles llama.cpp for many minutes, so its environment is made by hand and only looked for here. */
const llamaCppEnvironment: PeerEnvironment = {
  name: 'llama-cpp',
  requirements: join(peerScripts, 'llama-cpp.txt'),
};

export async function findLlamaCpp(threads: number): Promise<LlamaCpp | undefined> {
  const python = await findPeers(llamaCppEnvironment);
  if (!python) return undefined;
  const server = await startPeer(python, 'llama_quantize', threads);
  return {
    async quantize(from, to, type) {
      const { result } = (await server.ask({ from, to, type })) as { readonly result: number };
      if (result !== 0) throw new Error(`llama.cpp gave ${result}`);
    },
    command: (from, to, type) => ({
      file: python,
      args: [join(peerScripts, 'llama_quantize.py'), from, to, type, String(threads)],
    }),
    close: () => server.close(),
  };
}

/** Hugging Face's name of a Llama tensor as llama.cpp calls it. */
function ggufName(name: string): string {
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
  const [, layer, part] = /^(?:model\.layers\.(\d+)\.)?(.*)\.weight$/.exec(name) ?? [];
  return `${layer === undefined ? '' : `blk.${layer}.`}${parts[part]}.weight`;
}

/**
 * A Llama's weights as a GGUF file: matrices in f16, norms in f32, without a tokenizer, which the quantizer does not ask for.
 * Returns its bytes.
 */
export async function writeGguf(path: string, checkpoint: string, shape: LlamaShape): Promise<number> {
  const text = (value: string): GgufValue => ({ type: 'string', value });
  const count = (value: number): GgufValue => ({ type: 'u32', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', text('llama')],
    ['general.name', text('llama')],
    ['llama.vocab_size', count(shape.vocabulary)],
    ['llama.context_length', count(2048)],
    ['llama.embedding_length', count(shape.hidden)],
    ['llama.block_count', count(shape.layers)],
    ['llama.feed_forward_length', count(shape.intermediate)],
    ['llama.attention.head_count', count(shape.heads)],
    ['llama.attention.head_count_kv', count(shape.keyValueHeads)],
    ['llama.rope.dimension_count', count(shape.hidden / shape.heads)],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
  ]);
  const shards = await openShards(dirname(checkpoint));
  const tensors = [...shards.entries.values()].map((entry) => ({
    from: entry.name,
    name: ggufName(entry.name),
    type: ggufTensorTypeFor(entry.shape.length > 1 ? f16Block : f32Block),
    shape: entry.shape,
  }));
  const plan = planGgufFile(metadata, tensors);
  const writer = await createGgufWriter(path, plan);
  for (const { from, name, type } of tensors) {
    const values = toF32(await shards.read(from));
    const data = type.format === f16Block ? encodeF16(values) : values;
    await writer.write(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  await writer.finish();
  await shards.close();
  return plan.byteLength;
}
