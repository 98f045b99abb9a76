import { fromF32, type ModelDescription, NumericError, ShapeError, type Tensor } from '@q/core';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { loadWeights } from './load-weights.js';

const config = { model_type: 'gpt2', n_embd: 4, n_head: 2, n_layer: 1, n_positions: 8, vocab_size: 6 };

describe('loadWeights', () => {
  let engine: TfjsEngine;
  let model: ModelDescription;
  beforeAll(async () => {
    engine = await createEngine({ backend: 'cpu' });
    model = describeModel(config);
  });

  function stored(name: string): Tensor {
    const shape = model.expected.get(name)!;
    const size = shape.reduce((product, length) => product * length, 1);
    return fromF32(
      'f16',
      shape,
      Float32Array.from({ length: size }, (_, i) => i),
    );
  }

  it('turns Conv1D weights, resolves ties, and keeps everything alive', async () => {
    const { ops } = engine;
    const weights = await loadWeights(ops, model, async (name) => stored(name));
    expect([...weights.keys()].toSorted()).toEqual([...model.expected.keys(), 'lm_head.weight'].toSorted());
    expect(weights.get('lm_head.weight')).toBe(weights.get('transformer.wte.weight'));
    const fused = weights.get('transformer.h.0.attn.c_attn.weight')!;
    expect(ops.shape(fused)).toEqual([12, 4]);
    expect([...ops.dataSync(fused).subarray(0, 5)]).toEqual([0, 12, 24, 36, 1]);
    expect(ops.shape(weights.get('transformer.wpe.weight')!)).toEqual([8, 4]);
    for (const handle of new Set(weights.values())) ops.dispose(handle);
  });

  it('names the tensor that has another shape', async () => {
    const read = async (name: string) =>
      name.endsWith('c_fc.weight') ? stored('transformer.wpe.weight') : stored(name);
    await expect(loadWeights(engine.ops, model, read)).rejects.toThrow(ShapeError);
    await expect(loadWeights(engine.ops, model, read)).rejects.toThrow(
      /"transformer.h.0.mlp.c_fc.weight" has shape \[8,4\]; the config says \[4,16\]/,
    );
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('names the tensor that holds %s', async (bad) => {
    const before = engine.memory().tensors;
    const read = async (name: string) =>
      name.endsWith('ln_f.bias') ? fromF32('f32', [4], Float32Array.of(0, 0, bad, 0)) : stored(name);
    await expect(loadWeights(engine.ops, model, read)).rejects.toThrow(NumericError);
    await expect(loadWeights(engine.ops, model, read)).rejects.toThrow(
      `"transformer.ln_f.bias" holds ${bad} at element 2`,
    );
    expect(engine.memory().tensors).toBe(before);
  });
});
