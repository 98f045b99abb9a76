import { SchemeError } from '@q/core';
import { fromBytes } from '@q/safetensors';
import { describe, expect, it } from 'vitest';
import { f16Block } from './blocks/float-blocks.js';
import { planGgufFile } from './file-plan.js';
import { readGgufHeader } from './header.js';
import type { GgufValue } from './metadata.js';
import { type GgufMix, q4_K_M, q4_K_S, q5_K_M, q5_K_S } from './mix.js';
import { planRequantize } from './requantize-plan.js';
import { ggufTensorTypeFor } from './tensor-type.js';

interface Model {
  readonly blocks: number;
  readonly experts?: number;
  readonly architecture?: string;
  readonly keyValueHeads?: number;
  readonly values?: string;
}

/** Types of the tensors of a model, by name. Blocks come in an order that is not that of their numbers. */
async function types(mix: GgufMix, model: Model): Promise<Record<string, string>> {
  const { blocks, experts = 0, architecture = 'llama', keyValueHeads = 2, values = 'attn_v' } = model;
  const count = (value: number): GgufValue => ({ type: 'u32', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: architecture }],
    [`${architecture}.attention.head_count`, count(8)],
    [`${architecture}.attention.head_count_kv`, { type: 'array', of: 'i32', value: [0, keyValueHeads] }],
    [`${architecture}.expert_count`, count(experts)],
  ]);
  if (blocks > 0) metadata.set(`${architecture}.block_count`, count(blocks));
  const down = experts > 1 ? ['ffn_down_exps', 'ffn_down_shexp'] : ['ffn_down'];
  const names = Array.from({ length: blocks }, (_, i) =>
    [values, 'attn_k', 'attn_output', 'ffn_up', ...down].map((part) => `blk.${i}.${part}`),
  );
  const tensors = ['token_embd', 'output', ...names.reverse().flat()].map((name) => ({
    name: `${name}.weight`,
    type: ggufTensorTypeFor(f16Block),
    shape: [2, 256],
  }));
  const plan = planGgufFile(metadata, tensors);
  const bytes = new Uint8Array(plan.byteLength);
  bytes.set(plan.header);
  const header = await readGgufHeader(fromBytes(bytes));
  const { tensors: planned, metadata: written } = planRequantize(header, { type: mix }, 'model.gguf');
  expect(written.get('general.file_type')).toEqual(count(mix.fileType));
  return Object.fromEntries(planned.map(({ from, to }) => [from.name, to.name]));
}

/** The digit of each block's type. */
const digits = (all: Record<string, string>, part: string) =>
  Object.keys(all)
    .filter((name) => name.includes(part))
    .sort((a, b) => Number(a.split('.')[1]) - Number(b.split('.')[1]))
    .map((name) => all[name][1])
    .join('');

describe('mixes', () => {
  // What llama.cpp (llama-cpp-python 0.3.36) made of Llamas with random weights.
  it.each([
    [q4_K_M, 22, '6644644644644644644666', '6644644644644644644666'],
    [q4_K_S, 22, '5555444444444444444444', '5544444444444444444444'],
    [q5_K_M, 22, '6655655655655655655666', '6655655655655655655666'],
    [q5_K_S, 22, '5'.repeat(22), '5'.repeat(22)],
    [q4_K_M, 5, '44646', '44646'],
    [q4_K_S, 5, '55554', '44444'],
    [q5_K_M, 5, '55656', '55656'],
  ])('$name of a Llama of %d blocks', async (mix, blocks, values, down) => {
    const all = await types(mix, { blocks });
    expect(digits(all, 'attn_v')).toBe(values);
    expect(digits(all, 'ffn_down')).toBe(down);
    for (const part of ['attn_k', 'attn_output', 'ffn_up']) expect(digits(all, part)).toBe(mix.name[1].repeat(blocks));
    expect([all['token_embd.weight'], all['output.weight']]).toEqual([mix.base.name, 'Q6_K']);
  });

  it('of fused queries, keys and values treat them as values', async () => {
    expect(digits(await types(q4_K_M, { blocks: 5, values: 'attn_qkv' }), 'attn_qkv')).toBe('44646');
  });

  it('of eight experts keep keys and values in 8 bits, and count the experts of a block once', async () => {
    const all = await types(q4_K_M, { blocks: 5, experts: 8 });
    expect(digits(all, 'attn_v') + digits(all, 'attn_k')).toBe('8'.repeat(10));
    expect(digits(all, 'attn_output')).toBe('5'.repeat(5));
    expect(digits(all, 'ffn_down_exps')).toBe('44646');
    expect(digits(all, 'ffn_down_shexp')).toBe('44646');
    expect(digits(await types(q5_K_M, { blocks: 5, experts: 8 }), 'attn_output')).toBe('5'.repeat(5));
  });

  it('of 80 blocks with few heads of keys and values give values 5 bits at least', async () => {
    expect(digits(await types(q4_K_S, { blocks: 80 }), 'attn_v')).toBe('5'.repeat(80));
    expect(digits(await types(q4_K_S, { blocks: 80, keyValueHeads: 8 }), 'attn_v')).toBe('5555'.padEnd(80, '4'));
  });

  it('are refused for models whose rules are others', async () => {
    await expect(types(q4_K_M, { blocks: 2, architecture: 'falcon' })).rejects.toThrow(SchemeError);
    await expect(types(q4_K_M, { blocks: 0 })).rejects.toThrow(/model\.gguf: metadata lack llama\.block_count/);
  });
});
