import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { int4, perGroup, scheme, type Tensor, tensor } from '@q/core';
import { rtn } from '@q/rtn';
import { expect, it } from 'vitest';
import { writeSmallLlama } from '../testing/small-llama.js';
import { workbench } from '../testing/workbench.js';
import { type Plan, planRun } from './plan.js';

const at = workbench();
const layout = gptqLayout();

async function planOf(size: number, more?: ReadonlyMap<string, Tensor>, config?: object): Promise<Plan> {
  await writeSmallLlama(at.folder, undefined, more, config);
  const checkpoint = await openCheckpoint(at.folder, [layout]);
  try {
    const rule = { match: '*', quantizer: rtn(), scheme: scheme({ format: int4, granularity: perGroup(size) }) };
    return planRun(checkpoint, { layout, rules: [rule], seed: 0 });
  } finally {
    await checkpoint.close();
  }
}

/** Weights of the model without what a test adds: 16 x 32, five of 32 or fewer, four of 32 x 32, three of 40 x 32. */
const ownWeights = 16 * 32 + 3 * 32 + 4 * 32 * 32 + 3 * 40 * 32;

it('says which biases the config does not know, with their share of all weights', async () => {
  const bias = new Map([
    ['model.layers.0.self_attn.q_proj.bias', tensor('f32', [32])],
    ['model.layers.0.self_attn.k_proj.bias', tensor('f32', [32])],
  ]);
  const { notes, rows } = await planOf(8, bias);
  expect(notes).toContain(
    `model.layers.0.self_attn.k_proj.bias and 1 more: the model that config.json describes does not read it, it is copied; ${(
      (100 * 64) / (ownWeights + 64)
    ).toPrecision(2)} % of all weights`,
  );
  expect(rows.find(({ name }) => name.endsWith('q_proj.bias'))).toMatchObject({ action: 'copy', bytesAfter: 128 });
});

it('says that experts in one tensor of three dimensions stay, with their share of all weights', async () => {
  const experts = new Map([
    ['model.layers.0.mlp.experts.down_proj', tensor('f32', [4, 32, 40])],
    ['model.layers.0.mlp.experts.gate_up_proj', tensor('f32', [4, 80, 32])],
  ]);
  const { notes } = await planOf(8, experts, { model_type: 'of another kind' });
  const weights = 4 * 32 * 40 + 4 * 80 * 32;
  expect(notes).toContain(
    `model.layers.0.mlp.experts.down_proj and 1 more tensors of 3 dimensions stay as they are: ${(
      (100 * weights) / (ownWeights + weights)
    ).toFixed(1)} % of all weights`,
  );
});

it('counts embeddings apart from the linears that are quantized', async () => {
  const { rows, bytesAfter } = await planOf(8);
  const of = (kind: string) => rows.filter((row) => row.kind === kind).reduce((sum, row) => sum + row.bytesAfter, 0);
  expect(of('embeddings')).toBe(4 * 16 * 32);
  expect(of('embeddings') + of('linears') + of('the rest') + of('head')).toBe(bytesAfter);
});

it('cautions once of all linears whose last group is ragged', async () => {
  // 32 features are two groups of 16; the 40 of down_proj are two and a half, which kernels of GPTQ do not read.
  const { notes, modules } = await planOf(16);
  const cautions = notes.filter((note) => note.includes('group'));
  expect(modules.size).toBe(7);
  expect(cautions).toHaveLength(1);
  expect(cautions[0]).toMatch(/^model\.layers\.0\.mlp\.down_proj: .*40.*16/);
});

it('keeps linears that a data-free method cannot round, and says so once for all of one reason', async () => {
  // A group of 40 is wider than 32 features: down_proj alone can be rounded.
  const { notes, modules } = await planOf(40);
  expect([...modules.keys()]).toEqual(['model.layers.0.mlp.down_proj']);
  expect(notes.filter((note) => note.includes('kept'))).toEqual([
    'model.layers.0.self_attn.q_proj and 5 more are kept: groupSize 40 is larger than its 32 input features',
  ]);
});

it('keeps tables of positions of an unknown architecture, with the reason', async () => {
  const table = new Map([['model.layers.0.self_attn.relative_attention_bias.weight', tensor('f32', [32, 2])]]);
  const { rows, notes, modules } = await planOf(8, table, { model_type: 'of another kind' });
  expect(rows.find(({ name }) => name.includes('relative_attention_bias'))).toMatchObject({
    action: 'copy',
    why: 'kept: a table of positions, by its name',
  });
  expect(modules.size).toBe(7);
  expect(notes.filter((note) => note.includes('groupSize'))).toEqual([]);
});

it('refuses all modules that do not fit in one message', async () => {
  // Neither 32 nor 40 features hold a group of 64.
  await expect(planOf(64)).rejects.toThrow(
    'model.layers.0.self_attn.q_proj, model.layers.0.self_attn.k_proj, model.layers.0.self_attn.v_proj, ' +
      'model.layers.0.self_attn.o_proj, model.layers.0.mlp.gate_proj and model.layers.0.mlp.up_proj: ' +
      'groupSize 64 is larger than its 32 input features; model.layers.0.mlp.down_proj: ' +
      'groupSize 64 is larger than its 40 input features. ' +
      'Choose another scheme, or keep such modules with --keep or a rule',
  );
});
