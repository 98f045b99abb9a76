import type { BlockFormat } from '@q/core';
import { expect, it } from 'vitest';
import { f16Block } from './blocks/float-blocks.js';
import { q8_0 } from './blocks/q8-0.js';
import type { GgufValue } from './metadata.js';
import { type GgufMix, q4_K_M } from './mix.js';
import { planRequantize } from './requantize-plan.js';
import { ggufTensorTypeFor } from './tensor-type.js';
import { describeUnfitRows } from './unfit-rows.js';

/** @param rows length of the rows of each tensor */
function describePlan(type: BlockFormat | GgufMix, rows: Readonly<Record<string, number>>): string | undefined {
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['llama.block_count', { type: 'u32', value: 1 }],
  ]);
  const f16 = ggufTensorTypeFor(f16Block);
  const tensors = Object.entries(rows).map(
    ([name, row]) => [name, { name, type: f16, shape: [2, row], begin: 0, end: 4 * row }] as const,
  );
  const header = { version: 3, metadata, tensors: new Map(tensors), alignment: 32, dataStart: 0 };
  return describeUnfitRows(planRequantize(header, { type }, 'model.gguf'));
}

// The types are those of llama-quantize (llama-quant.cpp): Q5_0 for Q4_K, Q8_0 for Q6_K, and Q8_0 for such a head.
it('counts what a mix could not give, and not what it chose', () => {
  const rows = { 'token_embd.weight': 128, 'output.weight': 128, 'blk.0.attn_norm.weight': 128 };
  const block = { 'blk.0.attn_v.weight': 128, 'blk.0.ffn_up.weight': 352, 'blk.0.ffn_down.weight': 256 };
  expect(describePlan(q4_K_M, { ...rows, ...block })).toBe(
    '3 of 5 matrices are not Q4_K or Q6_K: rows of 128 and 352 values are not multiples of their blocks of 256: 2 are Q5_0, 1 Q8_0',
  );
});

it('speaks of one matrix, also if it stays what it is', () => {
  expect(describePlan(q8_0, { 'output.weight': 64, 'blk.0.ffn_up.weight': 60 })).toBe(
    '1 of 2 matrices is not Q8_0: rows of 60 values are not multiples of its block of 32: 1 is F16',
  );
});

it('is silent if all rows are whole blocks', () => {
  expect(describePlan(q4_K_M, { 'output.weight': 256, 'blk.0.attn_v.weight': 512 })).toBeUndefined();
});
