import {
  createContext,
  createRandom,
  type OutputMomentsState,
  outputMomentsMatrix,
  type Tensor,
  tensor,
} from '@q/core';
import { createRuntime, describeModel, forward, wrapRuntime } from '@q/models';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sampleLabels } from './labels.js';
import { outputGradients } from './output-gradients.js';
import { endLossStatistics, solverWeights, tokenWeights } from './token-weights.js';

const model = describeModel({
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 30,
});
const tensors = new Map<string, Tensor<'f32'>>(
  [...model.expected].map(([name, shape]) => {
    const random = createRandom('end loss').fork(name);
    const size = shape.reduce((product, n) => product * n, 1);
    return [
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: size }, () => (shape.length === 1 ? 1 : 0.4 * random.normal())),
      ),
    ];
  }),
);
const source = { weight: async (name: string) => tensors.get(name) as Tensor<'f32'> };
const tokens = createRandom('tokens');
const windows = { ids: Int32Array.from({ length: 3 * 7 }, () => tokens.integer(30)), count: 3, length: 7 };

let engine: Awaited<ReturnType<typeof createEngine>>;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

/**
 * Summed negative log likelihood of the text, with a value added to one output of one linear, in f64 from the logits.
 */
async function loss(module: string, at: number, by: number): Promise<number> {
  const { ops } = engine;
  const weights = new Map<string, any>([...tensors].map(([name, value]) => [name, ops.keep(ops.fromTensor(value))]));
  const runtime = wrapRuntime(createRuntime(ops, weights, { ties: model.ties }), {
    linear(name, x, inner) {
      const out = inner(name, x);
      if (name !== module) return out;
      const width = [...model.blocks.flatMap(({ linears }) => linears)].find((each) => each.module === module)
        ?.outFeatures as number;
      const change = new Float32Array(21 * width);
      change[at] = by;
      return ops.add(out, ops.fromF32(change, [3, 7, width]));
    },
  });
  const logits = forward(model, runtime, windows.ids, 3, 7);
  const values = await ops.data(logits);
  let sum = 0;
  for (let t = 0; t < 21; t++) {
    if (t % 7 === 6) continue;
    const row = Array.from(values.subarray(30 * t, 30 * (t + 1)), Number);
    const top = Math.max(...row);
    sum += top + Math.log(row.reduce((total, x) => total + Math.exp(x - top), 0)) - row[windows.ids[t + 1]];
  }
  for (const handle of [logits, ...weights.values()]) ops.dispose(handle);
  return sum;
}

describe('gradients of the end loss at the outputs of linears', () => {
  it('equal central differences of the loss, whatever the batch', async () => {
    for (const batch of [3, 2]) {
      const found = new Map<string, Float32Array>();
      await outputGradients(
        { model, engine, source, windows, labels: 'text', batch },
        ({ module, firstToken, gradient }) => {
          const width = gradient.length / (Math.min(batch, 3 - firstToken / 7) * 7);
          let all = found.get(module);
          if (!all) found.set(module, (all = new Float32Array(21 * width)));
          all.set(gradient, firstToken * width);
        },
        createContext(),
      );
      expect(found.size).toBe(14);
      for (const module of [
        'model.layers.0.self_attn.k_proj',
        'model.layers.0.mlp.gate_proj',
        'model.layers.1.mlp.down_proj',
      ]) {
        const gradient = found.get(module) as Float32Array;
        for (const at of [0, 37, gradient.length - 1 - 16 * 2]) {
          const step = 0.02;
          const expected = ((await loss(module, at, step)) - (await loss(module, at, -step))) / (2 * step);
          expect(Math.abs(gradient[at] - expected), `${module} ${at}`).toBeLessThan(2e-3 * (1 + Math.abs(expected)));
        }
      }
    }
  });

  it('come with the inputs of the linears when these are asked for', async () => {
    const seen = new Map<string, number>();
    await outputGradients(
      { model, engine, source, windows, batch: 3, inputs: true },
      ({ module, input }) => {
        seen.set(module, input?.length ?? 0);
      },
      createContext(),
    );
    expect(seen.get('model.layers.1.self_attn.q_proj')).toBe(21 * 16);
    expect(seen.get('model.layers.1.mlp.down_proj')).toBe(21 * 24);
  });

  it('come with the gradients by looked-up rows and the last hidden states, whatever the batch', async () => {
    const table = 'model.embed_tokens.weight';
    const values = tensors.get(table) as Tensor<'f32'>;
    for (const batch of [3, 2]) {
      const byRow = new Float64Array(30 * 16);
      let hidden = 0;
      await outputGradients(
        {
          ...{ model, engine, source, windows, labels: 'text', batch },
          visitEnds({ firstToken, hidden: last, rows = new Float32Array() }) {
            hidden += last.length;
            for (const [at, value] of rows.entries())
              byRow[16 * windows.ids[firstToken + Math.floor(at / 16)] + (at % 16)] += value;
          },
        },
        () => {},
        createContext(),
      );
      expect(hidden).toBe(21 * 16);
      for (const at of [3, 16 * windows.ids[9] + 5]) {
        const step = 0.01;
        const shifted = async (by: number) => {
          const before = values.data[at];
          values.data[at] += by;
          const found = await loss('none', 0, 0);
          values.data[at] = before;
          return found;
        };
        const expected = ((await shifted(step)) - (await shifted(-step))) / (2 * step);
        expect(Math.abs(byRow[at] - expected), `${at}`).toBeLessThan(5e-3 * (1 + Math.abs(expected)));
      }
    }
  });

  it('refuse models with experts by name', async () => {
    const experts = { ...model, blocks: [{ ...model.blocks[0], experts: [{ name: 'e', linears: [] }] }] };
    await expect(
      outputGradients({ model: experts, engine, source, windows }, () => {}, createContext()),
    ).rejects.toThrow(/model\.layers\.0 has experts/);
  });
});

describe('weights of tokens', () => {
  it('estimate the KL divergence that a small change of a weight causes', async () => {
    // The mean over many drawn labels is the Fisher information: KL = 1/2 sum_t sum_j (g_tj (D x)_tj)^2 to second
    // order.
    const module = 'model.layers.1.mlp.down_proj';
    const change = Float32Array.from({ length: 16 * 24 }, () => 0.004 * tokens.normal());
    let estimate = 0;
    const draws = 60;
    for (let draw = 0; draw < draws; draw++)
      await outputGradients(
        { model, engine, source, windows, batch: 3, inputs: true },
        (each) => {
          if (each.module !== module) return;
          for (let t = 0; t < 21; t++) {
            let along = 0;
            for (let j = 0; j < 16; j++) {
              let error = 0;
              for (let i = 0; i < 24; i++) error += change[24 * j + i] * (each.input as Float32Array)[24 * t + i];
              along += each.gradient[16 * t + j] * error;
            }
            estimate += along ** 2 / 2 / draws;
          }
        },
        createContext({ seed: draw }),
      );
    const logitsOf = async (values: ReadonlyMap<string, Tensor<'f32'>>) => {
      const { ops } = engine;
      const weights = new Map<string, any>([...values].map(([name, value]) => [name, ops.keep(ops.fromTensor(value))]));
      const logits = forward(model, createRuntime(ops, weights, { ties: model.ties }), windows.ids, 3, 7);
      const data = Float64Array.from(await ops.data(logits));
      for (const handle of [logits, ...weights.values()]) ops.dispose(handle);
      return data;
    };
    const name = `${module}.weight`;
    const changed = tensors.get(name)?.data.map((value, i) => value + change[i]) as Float32Array;
    const [before, after] = [
      await logitsOf(tensors),
      await logitsOf(new Map([...tensors, [name, tensor('f32', [16, 24], changed)]])),
    ];
    let kl = 0;
    for (let t = 0; t < 21; t++) {
      const p = softmax(before.subarray(30 * t, 30 * (t + 1)));
      const q = softmax(after.subarray(30 * t, 30 * (t + 1)));
      p.forEach((value, i) => {
        kl += value * Math.log(value / q[i]);
      });
    }
    expect(estimate / kl).toBeGreaterThan(0.7);
    expect(estimate / kl).toBeLessThan(1.4);
  });

  it('are the mean squares of the gradients, and the same from the same seed', async () => {
    const options = { model, engine, source, windows, batch: 2 };
    const [one, two] = [await tokenWeights(options, createContext()), await tokenWeights(options, createContext())];
    expect(one).toEqual(two);
    expect(one.get('model.layers.0.mlp.up_proj')?.length).toBe(21);
    expect([...one.values()].every((values) => values.every((x) => x >= 0 && Number.isFinite(x)))).toBe(true);
  });

  it('come with the second moments of the gradients by the outputs', async () => {
    const module = 'model.layers.1.mlp.up_proj';
    const expected = new Float64Array(24 * 24);
    const options = { model, engine, source, windows, batch: 2 };
    await outputGradients(
      options,
      (each) => {
        if (each.module !== module) return;
        for (let start = 0; start < each.gradient.length; start += 24)
          for (let i = 0; i < 24; i++)
            for (let j = 0; j < 24; j++) expected[24 * i + j] += each.gradient[start + i] * each.gradient[start + j];
      },
      createContext(),
    );
    const { tokens: weights, outputs } = await endLossStatistics(options, createContext());
    expect(weights).toEqual(await tokenWeights(options, createContext()));
    const moments = outputs.get(module) as OutputMomentsState;
    expect([moments.count, moments.width]).toEqual([21, 24]);
    const sum = outputMomentsMatrix(moments);
    const largest = Math.max(...expected);
    for (const [at, value] of expected.entries()) expect(Math.abs(sum[at] - value)).toBeLessThan(1e-5 * largest);
  });

  it('have mean 1 for a solver, are cut at the quantile, and are all alike at strength 0 or without any gradient', () => {
    const raw = Float32Array.from({ length: 1000 }, (_, i) => (i === 7 ? 1e6 : 1 + (i % 3)));
    const weights = solverWeights([raw, raw]);
    expect(weights.reduce((sum, x) => sum + x, 0) / 1000).toBeCloseTo(1, 5);
    expect(weights[7]).toBeLessThan(1e6 / 2);
    expect(new Set(solverWeights([raw], { strength: 0 }))).toEqual(new Set([1]));
    expect(new Set(solverWeights([new Float32Array(5)]))).toEqual(new Set([1]));
    expect(solverWeights([Float32Array.of(1, 3)], { quantile: 1 })).toEqual(Float32Array.of(0.5, 1.5));
  });

  it('labels are drawn from the softmax', () => {
    const logits = new Float32Array(3 * 20000).map((_, i) => Math.log([1, 2, 5][i % 3]));
    const out = new Int32Array(20000);
    sampleLabels(logits, 3, createRandom(1), out);
    [1, 2, 5].forEach((share, label) => {
      expect(out.filter((x) => x === label).length / 20000).toBeCloseTo(share / 8, 1);
    });
  });
});

function softmax(logits: Float64Array): Float64Array {
  const top = Math.max(...logits);
  const e = logits.map((x) => Math.exp(x - top));
  const sum = e.reduce((total, x) => total + x, 0);
  return e.map((x) => x / sum);
}
