import type { Checkpoint } from '@q/checkpoint';
import { expect, it } from 'vitest';
import { modelConfigText } from './model-config.js';

const textOf = (config: string, configChanges: Checkpoint['configChanges'] = {}) =>
  modelConfigText({ files: { text: async () => config }, configChanges } as unknown as Checkpoint, { dtype: 'q4' });

it("keeps the text of the model's numbers", async () => {
  const numbers = '"a": 0.0,\n  "b": 1e-05,\n  "c": [1.0, {"d": 2.50}],\n  "e": 12345678901234567890';
  expect(await textOf(`{${numbers}, "torch_dtype": "float16", "quantization_config": {"bits": 4}}`)).toBe(
    `{\n  ${numbers},\n  "transformers.js_config": {\n    "dtype": "q4"\n  }\n}\n`,
  );
});

it('writes what JSON.parse cannot read in another way, and leaves strings alone', async () => {
  const text = await textOf('{"a": [Infinity, -Infinity, NaN], "NaN": "is \\" Infinity"}');
  const { 'transformers.js_config': _, ...rest } = JSON.parse(text);
  expect(rest).toEqual({ a: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, null], NaN: 'is " Infinity' });
});

it('says of the head what the tensors say', async () => {
  const text = await textOf('{"tie_word_embeddings": true}', { tie_word_embeddings: false });
  expect(JSON.parse(text).tie_word_embeddings).toBe(false);
});
