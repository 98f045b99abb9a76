import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, fromF32 } from '@q/core';
import { describeModel } from '@q/models';
import { createShardWriter, planShards } from '@q/safetensors';

const words = 'a b c d e f g h i j k l m n o p q r s t u v w x y z one two three four five six seven eight'.split(' ');
const vocabulary = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words];

const config = {
  model_type: 'bert',
  vocab_size: vocabulary.length,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 40,
  type_vocab_size: 2,
  layer_norm_eps: 1e-12,
};

const special = (token: string, id: number) => [token, { id: token, ids: [id], tokens: [token] }] as const;

const tokenizer = {
  version: '1.0',
  added_tokens: [],
  normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
    ],
    pair: [],
    special_tokens: Object.fromEntries([special('[CLS]', 2), special('[SEP]', 3)]),
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
  },
};

/**
 * A sentence-transformers folder of a BERT with random weights, and a text of its words, `lines.txt`.
 * @param more shapes of further tensors: a head that the model's description does not have
 */
export async function writeTinyEncoder(
  folder: string,
  own: Record<string, unknown> = {},
  more: Readonly<Record<string, readonly number[]>> = {},
): Promise<void> {
  await mkdir(join(folder, '1_Pooling'), { recursive: true });
  const json = (name: string, value: unknown) => writeFile(join(folder, name), JSON.stringify(value));
  await json('config.json', { ...config, ...own });
  await json('tokenizer.json', tokenizer);
  await json('tokenizer_config.json', { tokenizer_class: 'BertTokenizer' });
  await json('modules.json', [
    { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
    { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
    { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
  ]);
  await json('1_Pooling/config.json', { word_embedding_dimension: 32, pooling_mode_mean_tokens: true });
  const { expected } = describeModel({ ...config, ...own });
  const tensors = [...expected, ...Object.entries(more)];
  const writer = await createShardWriter(
    folder,
    planShards(tensors.map(([name, shape]) => ({ name, dtype: 'F32', shape }))),
  );
  const random = createRandom('tiny encoder');
  for (const [name, shape] of tensors) {
    const [rows, columns = 1] = shape;
    const scale = shape.length === 1 ? 0.1 : 1 / Math.sqrt(columns);
    const values = Float32Array.from({ length: rows * columns }, () => scale * random.normal());
    if (/LayerNorm\.weight$/.test(name)) for (let i = 0; i < rows; i++) values[i] += 1;
    await writer.write(name, fromF32('f32', shape, values));
  }
  await writer.finish();
  const line = () =>
    Array.from({ length: 2 + random.integer(30) }, () => words[random.integer(words.length)]).join(' ');
  await writeFile(join(folder, 'lines.txt'), `${Array.from({ length: 120 }, line).join('\n')}\n`);
}
