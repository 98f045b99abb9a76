import { cutWindows } from '@q/calib';
import { createRandom, type Tensor, tensor } from '@q/core';
import { describeModel } from '@q/models';

/** A Llama of three blocks with biases, so that a linear's output is not its product alone. */
export const model = describeModel({
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  vocab_size: 40,
  attention_bias: true,
});

/** Five windows of 12 tokens: batches of 2 leave a shorter one. */
export const windows = cutWindows(
  Int32Array.from({ length: 5 * 12 }, (_, i) => (i * i + 7 * i) % 40),
  12,
);

/** Every tensor of the model, from a seed. */
export const tensors: ReadonlyMap<string, Tensor<'f32'>> = new Map(
  [...model.expected].map(([name, shape]) => {
    const random = createRandom(5).fork(name);
    const count = shape.reduce((a, b) => a * b, 1);
    return [
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: count }, () => 0.4 * random.normal()),
      ),
    ];
  }),
);

export const read = async (name: string): Promise<Tensor<'f32'>> => tensors.get(name) as Tensor<'f32'>;
