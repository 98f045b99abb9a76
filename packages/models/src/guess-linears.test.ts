import { expect, it } from 'vitest';
import { guessLinears } from './guess-linears.js';

const matrix = (name: string) => [name, { shape: [8, 4], dtype: 'F32' }] as const;

it('takes matrices as linears, and keeps tables, norms, routers and heads with a reason', () => {
  const linears = [
    'encoder.block.0.layer.0.SelfAttention.q.weight',
    'encoder.layers.0.self_attn.pos_proj.weight',
    'encoder.layers.0.self_attn.linear_pos.weight',
    'decoder.composition_bias.weight',
  ];
  const kept = {
    'a table of positions': [
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
      'layers.0.relative_position_bias_table.weight',
      'encoder.positional_encoding.weight',
      'encoder.pos_bias.weight',
    ],
    'a table of embeddings': ['shared.embed_positions.weight', 'transformer.wpe.weight'],
    'a norm': ['encoder.final_norm.weight'],
    'a router': ['layers.0.mlp.gate.weight', 'layers.0.router.weight'],
    'a head': ['lm_head.weight'],
  };
  const found = guessLinears(new Map([...linears, ...Object.values(kept).flat()].map(matrix)));
  expect(found.linears.map(({ module }) => `${module}.weight`)).toEqual(linears);
  expect(Object.fromEntries(found.kept)).toEqual(
    Object.fromEntries(
      Object.entries(kept).flatMap(([reason, names]) => names.map((name) => [name, `kept: ${reason}, by its name`])),
    ),
  );
});

it('looks at no vector, no integers and no tensor of another name', () => {
  const { linears, kept } = guessLinears(
    new Map([
      ['a.weight', { shape: [8], dtype: 'F32' }],
      ['b.weight', { shape: [8, 4], dtype: 'I32' }],
      ['c.table', { shape: [8, 4], dtype: 'F32' }],
    ]),
  );
  expect([linears, [...kept]]).toEqual([[], []]);
});
