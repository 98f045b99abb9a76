import { readDocuments } from '@q/calib';
import { parseJsonObject } from '@q/checkpoint';
import { describeModel, loadTokenizer } from '@q/models';
import { mutateBytes, mutateJson, mutateJsonText } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const configs: readonly object[] = [
  {
    ...{ model_type: 'llama', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2 },
    ...{ vocab_size: 24, rms_norm_eps: 1e-5, rope_theta: 1e4, tie_word_embeddings: true, rope_scaling: null },
  },
  {
    ...{ model_type: 'mixtral', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 },
    ...{ vocab_size: 24, num_local_experts: 3, num_experts_per_tok: 2, num_key_value_heads: 1 },
  },
  { ...{ model_type: 'gpt2', n_embd: 8, n_layer: 1, n_head: 2, n_inner: null, vocab_size: 20, n_positions: 16 } },
];

/** Reads config.json as text, and describes its model. Counts that are not checked against tensors stay small. */
export function configParser(): FuzzedParser {
  const count = /layers?$|layer$|experts$/;
  return {
    name: 'config',
    async run(random) {
      const text = mutateJsonText(configs[random.integer(configs.length)], random);
      const { values } = parseJsonObject(text, 'config.json');
      for (const [key, value] of Object.entries(values))
        if (count.test(key) && typeof value === 'number' && value > 100) values[key] = 100;
      describeModel(values);
      return { bytes: text.length };
    },
  };
}

const tokenizers: readonly object[] = [
  {
    ...{ version: '1.0', added_tokens: [{ id: 0, content: '<s>', special: true, normalized: false }] },
    ...{ normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'NFC' }] } },
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    ...{ post_processor: { type: 'ByteLevel', trim_offsets: false }, decoder: { type: 'ByteLevel' } },
    model: { type: 'BPE', vocab: { '<s>': 0, a: 1, b: 2, Ġ: 3, ab: 4, '.': 5 }, merges: [['a', 'b']], unk_token: null },
  },
  {
    ...{
      added_tokens: [],
      normalizer: { type: 'BertNormalizer', lowercase: true },
      pre_tokenizer: { type: 'BertPreTokenizer' },
    },
    ...{ post_processor: null, decoder: { type: 'WordPiece', prefix: '##' } },
    model: {
      type: 'WordPiece',
      vocab: { '[UNK]': 0, ab: 1, '##b': 2 },
      unk_token: '[UNK]',
      max_input_chars_per_word: 100,
    },
  },
  {
    ...{
      added_tokens: [],
      normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      pre_tokenizer: null,
    },
    ...{ post_processor: null, decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' } },
    model: {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<unk>', 0],
        ['a', -1],
        ['▁', -2],
        ['ab', -1.5],
      ],
    },
  },
];

/** Reads tokenizer.json and tokenizer_config.json, and encodes and decodes a text. */
export function tokenizerParser(): FuzzedParser {
  const config = { bos_token: '<s>', add_bos_token: true, clean_up_tokenization_spaces: false };
  return {
    name: 'tokenizer',
    async run(random) {
      const tokenizer = mutateJson(tokenizers[random.integer(tokenizers.length)], random);
      const own = random.integer(3) === 0 ? mutateJson(config, random) : {};
      const loaded = loadTokenizer({ tokenizer, config: own });
      const ids = loaded.encode('ab a. ab<s> b');
      loaded.decode(ids);
      return { bytes: 1000, finite: [ids] };
    },
  };
}

/** Reads calibration text of any kind. */
export function textParser(): FuzzedParser {
  const encoder = new TextEncoder();
  const texts = [
    ['x.jsonl', '{"text":"one"}\n{"text":"two"}\n'],
    ['x.ndjson', '{"text":"one","n":[1]}\n'],
    ['x.json', '[{"text":"one"},"two"]'],
    ['x.txt', 'one\n<|endoftext|>\n[1] two\n'],
  ] as const;
  return {
    name: 'text',
    async run(random) {
      const [name, text] = texts[random.integer(texts.length)];
      const bytes = mutateBytes(encoder.encode(text), random);
      readDocuments(new TextDecoder().decode(bytes), name);
      return { bytes: bytes.length };
    },
  };
}
