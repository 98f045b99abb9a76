import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, fromF32, type Tensor } from '@q/core';
import { describeModel } from '@q/models';
import { writeSafetensorsFile } from '@q/safetensors';
import { type SmallModel, textLength } from './architectures.js';

const demo = new URL('../../../packages/cli/demo/model/', import.meta.url);
/** Tokens at the beginning and end of an encoder's text, and the token for padding. */
const marks = ['<s>', '<pad>', '</s>', '<unk>', '<mask>'];

/** Writes the folder of a model with random weights and a tokenizer, and returns the ids of a text. */
export async function writeSmallModel(
  folder: string,
  { name, config, shiftedNorms, encoder }: SmallModel,
): Promise<readonly number[]> {
  await mkdir(folder, { recursive: true });
  const json = (file: string, value: unknown) => writeFile(join(folder, file), JSON.stringify(value));
  await json('config.json', config);
  const { expected, vocabularySize } = describeModel(config);
  const tensors = [...expected].map(([tensor, shape]): [string, Tensor] => {
    const random = createRandom(`${name} ${tensor}`);
    const count = shape.reduce((product, size) => product * size, 1);
    const gain = shape.length === 1 && tensor.endsWith('.weight') && !shiftedNorms ? 1 : 0;
    const spread = shape.length === 1 ? 0.1 : 1 / Math.sqrt(shape[1]);
    const values = Float32Array.from({ length: count }, () => gain + spread * random.normal());
    return [tensor, fromF32('f32', shape, values)];
  });
  await writeSafetensorsFile(join(folder, 'model.safetensors'), new Map(tensors));
  const tokenizer = JSON.parse(await readFile(new URL('tokenizer.json', demo), 'utf8'));
  if (encoder === undefined) {
    await json('tokenizer.json', tokenizer);
    await json('tokenizer_config.json', JSON.parse(await readFile(new URL('tokenizer_config.json', demo), 'utf8')));
  } else {
    await json('tokenizer.json', encoder === 'bytes' ? markedBytes(tokenizer) : words(vocabularySize));
    await json('tokenizer_config.json', {
      ...{ tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>' },
      ...{ unk_token: '<unk>', cls_token: '<s>', sep_token: '</s>', mask_token: '<mask>' },
    });
    await poolTokens(folder, config['hidden_size'] as number, json);
  }
  const random = createRandom(`${name} text`);
  const plain = Array.from({ length: textLength }, () => marks.length + random.integer(vocabularySize - 100));
  return encoder === undefined ? plain : [0, ...plain.slice(2), 2];
}

const template = {
  type: 'TemplateProcessing',
  single: [
    { SpecialToken: { id: '<s>', type_id: 0 } },
    { Sequence: { id: 'A', type_id: 0 } },
    { SpecialToken: { id: '</s>', type_id: 0 } },
  ],
  pair: [],
  special_tokens: Object.fromEntries(
    [0, 2].map((id) => [marks[id], { id: marks[id], ids: [id], tokens: [marks[id]] }]),
  ),
};
const added = marks.map((content, id) => ({ id, content, special: true }));

/** The demo model's byte pairs after the special tokens of RoBERTa. */
function markedBytes(tokenizer: { model: { vocab: Record<string, number> } }): object {
  const pieces = Object.entries(tokenizer.model.vocab).filter(([piece]) => !piece.startsWith('<|'));
  const ordered = pieces.sort(([, a], [, b]) => a - b).map(([piece]) => piece);
  const vocab = Object.fromEntries([...marks, ...ordered].map((piece, id) => [piece, id]));
  return {
    ...{ ...tokenizer, added_tokens: added, post_processor: template },
    model: { ...tokenizer.model, vocab },
  };
}

const words = (size: number): object => ({
  ...{ version: '1.0', added_tokens: added, post_processor: template },
  normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    ...{ type: 'WordPiece', unk_token: '<unk>', continuing_subword_prefix: '##', max_input_chars_per_word: 100 },
    vocab: Object.fromEntries(
      Array.from({ length: size }, (_, id) => [id < marks.length ? marks[id] : `word${id}`, id]),
    ),
  },
});

async function poolTokens(
  folder: string,
  width: number,
  json: (file: string, value: unknown) => Promise<void>,
): Promise<void> {
  await mkdir(join(folder, '1_Pooling'));
  await json('modules.json', [
    { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
    { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
  ]);
  await json('1_Pooling/config.json', { word_embedding_dimension: width, pooling_mode_mean_tokens: true });
}
