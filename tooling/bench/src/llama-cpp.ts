import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { encodeF16, toF32 } from '@q/core';
import type { LlamaShape } from '@q/figures/llama-shape';
import { openShards } from '@q/safetensors';
import { findPeers, type PeerEnvironment, peerScripts } from './peer-process.js';

const run = promisify(execFile);

/** llama.cpp's own quantizer. */
export interface LlamaCpp {
  /** @param type `Q4_0` or `Q4_K`, for all linears */
  quantize(from: string, to: string, type: string, threads: number): Promise<unknown>;
}

/** llama-cpp-python compiles llama.cpp for many minutes, so its environment is made by hand and only looked for here. */
const llamaCppEnvironment: PeerEnvironment = {
  name: 'llama-cpp',
  requirements: join(peerScripts, 'llama-cpp.txt'),
};

export async function findLlamaCpp(): Promise<LlamaCpp | undefined> {
  const python = await findPeers(llamaCppEnvironment);
  if (!python) return undefined;
  const program = join(peerScripts, 'llama_quantize.py');
  return {
    quantize: (from, to, type, threads) =>
      run(python, [program, from, to, type, String(threads)], { maxBuffer: 2 ** 26 }),
  };
}

const text = new TextEncoder();
const alignment = 32;
/** Tags of metadata values (formats.md section 6). */
const [u32Tag, f32Tag, stringTag] = [4, 6, 8];
const [f32Type, f16Type] = [0, 1];

class Bytes {
  readonly parts: Uint8Array[] = [];
  length = 0;
  put(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.length += bytes.length;
    return this;
  }
  u32 = (...values: number[]) => this.put(new Uint8Array(Uint32Array.from(values).buffer));
  u64 = (...values: number[]) => this.put(new Uint8Array(BigUint64Array.from(values, BigInt).buffer));
  string(value: string): this {
    const bytes = text.encode(value);
    return this.u64(bytes.length).put(bytes);
  }
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
  const shards = await openShards(dirname(checkpoint));
  const names = [...shards.entries.keys()];
  const head = new Bytes().put(text.encode('GGUF')).u32(3).u64(names.length, 11);
  const entry = (key: string, tag: number) => head.string(key).u32(tag);
  for (const key of ['general.architecture', 'general.name']) entry(key, stringTag).string('llama');
  for (const [key, value] of [
    ['vocab_size', shape.vocabulary],
    ['context_length', 2048],
    ['embedding_length', shape.hidden],
    ['block_count', shape.layers],
    ['feed_forward_length', shape.intermediate],
    ['attention.head_count', shape.heads],
    ['attention.head_count_kv', shape.keyValueHeads],
    ['rope.dimension_count', shape.hidden / shape.heads],
  ] as const)
    entry(`llama.${key}`, u32Tag).u32(value);
  entry('llama.attention.layer_norm_rms_epsilon', f32Tag).put(new Uint8Array(Float32Array.of(1e-5).buffer));
  const places: { name: string; at: number; matrix: boolean }[] = [];
  let at = 0;
  for (const name of names) {
    const { shape: dims } = shards.entries.get(name) as { shape: readonly number[] };
    const matrix = dims.length > 1;
    head
      .string(ggufName(name))
      .u32(dims.length)
      .u64(...[...dims].reverse())
      .u32(matrix ? f16Type : f32Type)
      .u64(at);
    places.push({ name, at, matrix });
    const bytes = dims.reduce((product, size) => product * size, matrix ? 2 : 4);
    at += Math.ceil(bytes / alignment) * alignment;
  }
  const start = Math.ceil(head.length / alignment) * alignment;
  const file = await open(path, 'w');
  let position = 0;
  for (const part of head.parts) position += (await file.write(part, 0, part.length, position)).bytesWritten;
  for (const place of places) {
    const values = toF32(await shards.read(place.name));
    const data = place.matrix ? encodeF16(values) : values;
    await file.write(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      0,
      data.byteLength,
      start + place.at,
    );
  }
  await file.truncate(start + at);
  await file.close();
  await shards.close();
  return start + at;
}
