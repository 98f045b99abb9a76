import { createContext, createRandom, ShapeError, type Tensor, tensor } from '@q/core';
import { outputGradients } from '@q/end-loss';
import { describeModel } from '@q/models';
import { createEngine } from '@q/tfjs';
import { expect, it } from 'vitest';
import { createLayerMeter } from './layer-meter.js';

const model = describeModel({
  model_type: 'llama',
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 20,
});
const tensors = new Map<string, Tensor<'f32'>>(
  [...model.expected].map(([name, shape]) => {
    const random = createRandom('meter').fork(name);
    const size = shape.reduce((product, n) => product * n, 1);
    return [
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: size }, () => random.normal()),
      ),
    ];
  }),
);
const source = { weight: async (name: string) => tensors.get(name) as Tensor<'f32'> };
const random = createRandom('ids');
const windows = { ids: Int32Array.from({ length: 15 }, () => random.integer(20)), count: 3, length: 5 };

it('measures squared errors of outputs, plain and weighted by gradients, as a direct sum over tokens does', async () => {
  const engine = await createEngine({ backend: 'cpu' });
  try {
    const meter = await createLayerMeter({ model, engine, source, windows, batch: 2 }, createContext());
    const module = 'model.layers.0.mlp.down_proj';
    const original = (tensors.get(`${module}.weight`) as Tensor<'f32'>).data;
    const changed = original.map((value) => value + 0.1 * random.normal());
    const [rows, width] = [8, 12];
    let plain = 0;
    // By the definition, with all four indices.
    const inputs = new Float64Array(width ** 2);
    const outputs = new Float64Array(rows ** 2);
    await outputGradients(
      { model, engine, source, windows, batch: 3, inputs: true },
      (each) => {
        if (each.module !== module) return;
        for (let t = 0; t < 15; t++) {
          let [error, squares] = [0, 0];
          for (let r = 0; r < rows; r++) {
            let sum = 0;
            for (let i = 0; i < width; i++)
              sum += (changed[width * r + i] - original[width * r + i]) * (each.input as Float32Array)[width * t + i];
            error += sum * sum;
            squares += each.gradient[rows * t + r] ** 2 / rows;
          }
          plain += error / 15;
          const [x, g] = [each.input as Float32Array, each.gradient];
          for (let i = 0; i < width; i++)
            for (let j = 0; j < width; j++) inputs[width * i + j] += squares * x[width * t + i] * x[width * t + j];
          for (let a = 0; a < rows; a++)
            for (let b = 0; b < rows; b++) outputs[rows * a + b] += g[rows * t + a] * g[rows * t + b];
        }
      },
      createContext(),
    );
    const difference = changed.map((value, at) => value - original[at]);
    const trace = Array.from({ length: rows }, (_, a) => outputs[rows * a + a]).reduce((sum, value) => sum + value, 0);
    let weighted = 0;
    for (let a = 0; a < rows; a++)
      for (let b = 0; b < rows; b++)
        for (let i = 0; i < width; i++)
          for (let j = 0; j < width; j++)
            weighted +=
              (outputs[rows * a + b] *
                (rows / trace) *
                difference[width * a + i] *
                inputs[width * i + j] *
                difference[width * b + j]) /
              15;
    const errors = meter.measure(new Map([[module, changed]]));
    expect(errors.plain / plain).toBeCloseTo(1, 4);
    expect(errors.weighted / weighted).toBeCloseTo(1, 4);
    expect(errors.modules.get(module)?.plain).toBe(errors.plain);
    expect(meter.measure(new Map([[module, original]])).plain).toBe(0);
    expect(() => meter.measure(new Map([['nothing', new Float32Array(4)]]))).toThrow(ShapeError);
  } finally {
    await engine.dispose();
  }
});
