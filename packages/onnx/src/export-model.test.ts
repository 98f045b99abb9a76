import type { Checkpoint } from '@q/checkpoint';
import { createRandom, type QuantizedTensor, type Tensor, tensor } from '@q/core';
import { describeModel } from '@q/models';
import { describe, expect, it } from 'vitest';
import { exportModel } from './export-model.js';
import { type OnnxType, q2, q4, q4f16, q8 } from './onnx-type.js';

const table = 'model.embed_tokens.weight';

/** A Llama with random weights. */
function llama(hidden: number, tied: boolean): Checkpoint {
  const model = describeModel({
    ...{ model_type: 'llama', vocab_size: 7, hidden_size: hidden, intermediate_size: 91, num_hidden_layers: 1 },
    ...{ num_attention_heads: 2, max_position_embeddings: 8, tie_word_embeddings: tied },
  });
  const random = createRandom('odd sizes');
  const weights = new Map<string, Tensor<'f32'>>();
  for (const [name, shape] of model.expected) {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.uniform());
    weights.set(name, tensor('f32', shape, data));
  }
  return { model, quantizedModules: [], weight: async (name: string) => weights.get(name) } as unknown as Checkpoint;
}

async function exported(checkpoint: Checkpoint, type: OnnxType) {
  const quantizer = async (): Promise<QuantizedTensor> => Promise.reject(new Error('no codes are needed here'));
  const options = { ...type.forms(quantizer), type: type.type, producer: { name: 'q', version: '0' } };
  const { payloads, notes } = await exportModel(checkpoint, options);
  const stored = payloads.flatMap((payload) => payload.tensors.map((each, index) => ({ ...each, payload, index })));
  return { stored, notes: notes.filter((note) => note.includes(table)) };
}

describe('a table whose rows are not whole blocks', () => {
  it.each([
    ...([q8, q4, q2] as const).map((type) => [type.name, type, 'f32'] as const),
    ['q4f16', q4f16, 'f16'] as const,
  ])('is stored in the floats of %s, with a note', async (_, type, floats) => {
    for (const tied of [false, true]) {
      const checkpoint = llama(60, tied);
      const { stored, notes } = await exported(checkpoint, type);
      expect(notes).toEqual([
        `${table} is stored as ${floats} instead of 8 bits in blocks of 32: rows of 60 values are not whole blocks of 32, and onnxruntime looks up only those`,
      ]);
      const own = stored.filter(({ name }) => name.startsWith(table));
      expect(own.map(({ name, type: kind, dims }) => ({ name, kind, dims }))).toEqual([
        { name: table, kind: floats, dims: [7, 60] },
      ]);
      const bytes = (await own[0]!.payload.make())[own[0]!.index]!;
      const { data } = await checkpoint.weight(table);
      if (floats === 'f32') expect(new Float32Array(bytes.slice().buffer)).toEqual(data);
      else expect(bytes.length).toBe(2 * data.length);
      // A head of its own is only multiplied, which incomplete blocks allow.
      const head = stored.filter(({ name }) => name.startsWith('lm_head')).map(({ name }) => name);
      expect(head).toEqual(tied ? [] : ['lm_head.weight_Q8', 'lm_head.weight_scales']);
    }
  });
});

it('stores a table of whole blocks as codes, without a note', async () => {
  const { stored, notes } = await exported(llama(64, true), q4);
  expect(notes).toEqual([]);
  expect(stored.filter(({ name }) => name.startsWith(table)).map(({ name }) => name)).toEqual([
    `${table}_Q8`,
    `${table}_scales`,
  ]);
});
