import { createRandom, FormatError } from '@q/core';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { describeModel, stacksOf } from '../describe-model.js';
import { createRuntime } from '../runtime.js';
import { mixtureOfExperts } from './mixture-of-experts.js';
import { largestColumns } from './routing.js';

const [hidden, intermediate, experts, tokens] = [6, 5, 7, 11];
const shape = {
  prefix: 'moe',
  hidden,
  intermediate,
  activation: 'silu' as const,
  experts,
  perToken: 3,
  names: { gate: 'w1', up: 'w3', down: 'w2' },
};

type Matrix = readonly (readonly number[])[];
const times = (matrix: Matrix, x: readonly number[]) =>
  matrix.map((row) => row.reduce((sum, w, i) => sum + w * x[i]!, 0));
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const silu = (x: number) => x * sigmoid(x);
const mlp = (x: readonly number[], gate: Matrix, up: Matrix, down: Matrix) => {
  const [a, b] = [times(gate, x), times(up, x)];
  return times(
    down,
    a.map((value, i) => silu(value) * b[i]!),
  );
};

describe.each([
  { title: 'weights that add up to 1 (Mixtral)', normalize: true, shared: undefined },
  {
    title: 'weights of the softmax over all, a shared expert (Qwen2-MoE)',
    normalize: false,
    shared: { intermediate: 4 },
  },
])('$title', ({ normalize, shared }) => {
  it('is the weighted sum over the best experts of each token, in f64', async () => {
    const { ops, dispose } = await createEngine({ backend: 'cpu' });
    const mixture = mixtureOfExperts({ ...shape, normalize, ...(shared ? { shared } : {}) });
    const random = createRandom(3);
    const matrices = new Map<string, Matrix>();
    for (const { module, outFeatures, inFeatures } of mixture.linears)
      matrices.set(
        `${module}.weight`,
        Array.from({ length: outFeatures }, () =>
          Array.from({ length: inFeatures }, () => Math.fround(random.normal())),
        ),
      );
    for (const [name, [rows, columns]] of mixture.kept)
      matrices.set(
        name,
        Array.from({ length: rows! }, () => Array.from({ length: columns! }, () => Math.fround(random.normal()))),
      );
    // Of equal logits the lower index wins: the last expert is never chosen.
    const router = matrices.get('moe.gate.weight')!;
    matrices.set(
      'moe.gate.weight',
      router.map((row, e) => (e < 2 ? row : row.map(() => 0))),
    );
    const x = Array.from({ length: tokens }, () => Array.from({ length: hidden }, () => Math.fround(random.normal())));

    const at = (name: string) => matrices.get(`${name}.weight`)!;
    const expected = x.map((token) => {
      const logits = times(at('moe.gate'), token);
      const best = logits
        .map((_, e) => e)
        .sort((a, b) => logits[b]! - logits[a]! || a - b)
        .slice(0, 3);
      const over = (normalize ? best : logits.map((_, e) => e)).reduce((sum, e) => sum + Math.exp(logits[e]!), 0);
      const out = new Array<number>(hidden).fill(0);
      const add = (weight: number, values: number[]) =>
        values.forEach((value, j) => {
          out[j]! += weight * value;
        });
      for (const e of best) {
        const name = `moe.experts.${e}`;
        add(Math.exp(logits[e]!) / over, mlp(token, at(`${name}.w1`), at(`${name}.w3`), at(`${name}.w2`)));
      }
      if (shared) {
        const name = 'moe.shared_expert';
        add(
          sigmoid(times(at('moe.shared_expert_gate'), token)[0]!),
          mlp(token, at(`${name}.gate_proj`), at(`${name}.up_proj`), at(`${name}.down_proj`)),
        );
      }
      return out;
    });

    const weights = new Map(
      [...matrices].map(([name, rows]) => [
        name,
        ops.fromF32(Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]),
      ]),
    );
    const runtime = createRuntime(ops, weights);
    const input = ops.fromF32(Float32Array.from(x.flat()), [1, tokens, hidden]);
    const residual = ops.fromF32(new Float32Array(tokens * hidden), [1, tokens, hidden]);
    const routed = { residual, input, ...mixture.route!(runtime, input) };
    expect(Object.keys(routed)).not.toContain('expert.6');
    const inputs = mixture.stages[0]!.inputs!;
    expect(inputs.get('moe.experts.1.w3')).toBe('expert.1');
    const state = mixture.stages.reduce((current, stage) => stage.run(runtime, current), routed);
    const actual = ops.dataSync(state.residual);
    const largest = expected.flat().reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
    expect(largest).toBeLessThan(2e-5);
    // Each expert sees its own tokens and no others.
    const all = Array.from({ length: experts }, (_, e) => routed[`expert.${e}.tokens` as keyof typeof routed]).filter(
      Boolean,
    );
    expect(all.reduce((sum, part) => sum + ops.shape(part!)[0]!, 0)).toBe(3 * tokens);
    const first = [...ops.dataSync(routed['expert.0.tokens' as keyof typeof routed]!)];
    expect([...ops.dataSync(routed['expert.0' as keyof typeof routed]!)]).toEqual(first.flatMap((token) => x[token]!));
    await dispose();
  });
});

describe('descriptions', () => {
  const mixtral = {
    model_type: 'mixtral',
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    vocab_size: 16,
    num_local_experts: 3,
  };
  const qwen = {
    ...mixtral,
    model_type: 'qwen2_moe',
    num_experts: 4,
    num_experts_per_tok: 2,
    moe_intermediate_size: 6,
    shared_expert_intermediate_size: 10,
    num_hidden_layers: 4,
  };

  it('keeps routers, and gives all experts of a layer one scheme', () => {
    const [block] = describeModel(mixtral).blocks;
    expect(block!.linears.map(({ module }) => module)).not.toContain('model.layers.0.block_sparse_moe.gate');
    expect(block!.tensors).toContain('model.layers.0.block_sparse_moe.gate.weight');
    expect(block!.experts?.map(({ name }) => name)).toEqual(
      [0, 1, 2].map((e) => `model.layers.0.block_sparse_moe.experts.${e}`),
    );
    expect(block!.fusionGroups[1]).toEqual(block!.experts?.flatMap(({ linears }) => linears));
  });

  it('makes layers dense where the config says so', () => {
    const isSparse = (config: object) =>
      describeModel({ ...qwen, ...config }).blocks.map(({ experts }) => experts !== undefined);
    expect(isSparse({})).toEqual([true, true, true, true]);
    expect(isSparse({ decoder_sparse_step: 2 })).toEqual([false, true, false, true]);
    expect(isSparse({ mlp_only_layers: [0, 3] })).toEqual([false, true, true, false]);
    const dense = describeModel({ ...qwen, mlp_only_layers: [1] });
    expect(dense.expected.get('model.layers.1.mlp.gate_proj.weight')).toEqual([12, 8]);
    expect(dense.expected.get('model.layers.0.mlp.shared_expert.down_proj.weight')).toEqual([8, 10]);
    expect(dense.expected.get('model.layers.0.mlp.shared_expert_gate.weight')).toEqual([1, 8]);
  });

  it('divides experts stacked in one tensor, and refuses those of another order', () => {
    const name = 'model.layers.0.mlp.experts.gate_up_proj';
    const { split } = stacksOf(mixtral)!;
    expect(split(name, [2, 24, mixtral.hidden_size])).toEqual(
      [0, 1].map((e) => ['w1', 'w3'].map((part) => `model.layers.0.mlp.experts.${e}.${part}.weight`)),
    );
    expect(split('model.layers.0.mlp.experts.down_proj', [1, mixtral.hidden_size, 12])).toEqual([
      ['model.layers.0.mlp.experts.0.w2.weight'],
    ]);
    expect(split('model.layers.0.mlp.experts.0.w1.weight', [12, mixtral.hidden_size])).toBeUndefined();
    expect(() => split(name, [2, mixtral.hidden_size, 24])).toThrow(FormatError);
    const named = describeModel(mixtral, undefined, new Set(['model.layers.0.mlp.gate.weight']));
    expect(named.expected.has('model.layers.0.mlp.experts.0.w1.weight')).toBe(true);
  });

  it('refuses more experts a token than there are', () => {
    expect(() => describeModel({ ...mixtral, num_experts_per_tok: 4 })).toThrow('there are 3 experts');
    expect(() => describeModel({ ...qwen, mlp_only_layers: ['1'] })).toThrow('a list of whole numbers');
  });

  it('chooses the largest logits, of equal ones the lower index', () => {
    expect([...largestColumns(Float32Array.of(1, 3, 3, 2, 0, 0, 0, 0), 2, 4, 2)]).toEqual([1, 2, 0, 1]);
  });
});
