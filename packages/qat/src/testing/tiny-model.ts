import {
  createRandom,
  type ModelDescription,
  type QuantizedTensor,
  quantize,
  type Scheme,
  type Tensor,
  type TokenWindows,
  tensor,
} from '@q/core';
import { describeModel } from '@q/models';

/** A llama of two blocks with random weights, large enough that quantizing it changes its logits. */
export const tinyModel: ModelDescription = describeModel({
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 40,
});

export const tinyWeights: ReadonlyMap<string, Tensor<'f32'>> = new Map(
  [...tinyModel.expected].map(([name, shape]) => {
    const random = createRandom('tiny').fork(name);
    const size = shape.reduce((product, length) => product * length, 1);
    const deviation = name.includes('embed') || name.includes('lm_head') ? 1 : 0.25;
    return [
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: size }, () => (shape.length === 1 ? 1 : deviation * random.normal())),
      ),
    ];
  }),
);

export const tinySource = {
  async weight(name: string): Promise<Tensor<'f32'>> {
    return tinyWeights.get(name) as Tensor<'f32'>;
  },
};

export function tinyWindows(count: number, length = 12): TokenWindows {
  const random = createRandom('tiny tokens');
  return { ids: Int32Array.from({ length: count * length }, () => random.integer(40)), count, length };
}

/** Round-to-nearest of every linear of the blocks. */
export function tinyStart(scheme: Scheme): Map<string, QuantizedTensor> {
  return new Map(
    tinyModel.blocks.flatMap(({ linears }) =>
      linears.map(({ module }): [string, QuantizedTensor] => [
        module,
        quantize(tinyWeights.get(`${module}.weight`) as Tensor<'f32'>, scheme),
      ]),
    ),
  );
}

/** A store in memory that counts its saves. */
export function memoryStore() {
  let state: ReadonlyMap<string, Float32Array> | undefined;
  const saves: number[] = [];
  return {
    saves,
    async load() {
      return state;
    },
    async save(next: ReadonlyMap<string, Float32Array>) {
      state = new Map([...next].map(([name, values]) => [name, values.slice()]));
      saves.push((next.get('progress') as Float32Array)[0]);
    },
  };
}
