import type { Ops } from '@q/core';
import { expect, it } from 'vitest';
import { describeModel } from '../describe-model.js';
import { runBlock } from '../run.js';
import { createRuntime } from '../runtime.js';

const small = {
  ...{ model_type: 'mistral', hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, vocab_size: 24, rms_norm_eps: 1e-5, max_position_embeddings: 8192 },
};

/** The window that the first block asks its attention for: no other operation computes anything. */
function windowOf(config: Readonly<Record<string, unknown>>): number | undefined {
  const model = describeModel(config);
  let asked: { readonly window?: number } | undefined;
  const answers: Record<string, (...args: any[]) => unknown> = {
    attention(args) {
      asked = args;
      return 'x';
    },
    shape: () => [1, 4, 32],
    scope: (f) => f(),
    split: (_x, sizes: readonly number[]) => sizes.map(() => 'x'),
  };
  const ops = new Proxy({}, { get: (_target, name) => answers[String(name)] ?? (() => 'x') });
  const weights = new Map([...model.expected.keys()].map((name) => [name, 'w']));
  runBlock(model.blocks[0], createRuntime(ops as Ops<string>, weights, { ties: model.ties }), 'x');
  expect(asked).toBeDefined();
  return asked?.window;
}

it('has the window that transformers takes where the key is absent, and none where it is null', () => {
  expect(windowOf(small)).toBe(4096);
  expect(windowOf({ ...small, sliding_window: null })).toBeUndefined();
  expect(windowOf({ ...small, sliding_window: 128 })).toBe(128);
});
