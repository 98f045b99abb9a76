import type { Architecture, ModelDescription } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeEncoderLike, type EncoderBlockNames, type EncoderVariant } from './encoder-like.js';
import {
  classifies,
  classifiesSequences,
  labelCount,
  linearTokenClassifier,
  sequenceOutput,
} from './sequence-output.js';

/** Module names of the blocks of BERT and RoBERTa. */
const names: EncoderBlockNames = {
  query: 'attention.self.query',
  key: 'attention.self.key',
  value: 'attention.self.value',
  output: 'attention.output.dense',
  attentionNorm: 'attention.output.LayerNorm',
  up: 'intermediate.dense',
  down: 'output.dense',
  outputNorm: 'output.LayerNorm',
};

/** BERT: positions from 0, two kinds of segments, a pooler that a classifier reads. */
export const bert: Architecture = {
  name: 'bert',
  modelTypes: ['bert'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const sizes = readSizes(config, 'bert.', tensorNames);
    const labels = classifiesSequences(config) ? labelCount(config) : undefined;
    const dense = { linear: `${sizes.root}pooler.dense`, bias: true, out: sizes.hidden };
    const pooling = [dense, { activation: 'tanh' as const }];
    // Some are published without the pooler, which only a classifier reads.
    const pooled = tensorNames?.has(`${dense.linear}.weight`) ?? labels !== undefined;
    return describeEncoderLike({
      ...sizes,
      architecture: 'bert',
      ...(pooled ? { pooler: sequenceOutput(pooling, sizes.hidden) } : {}),
      ...(labels === undefined
        ? {}
        : {
            classifier: sequenceOutput([...pooling, { linear: 'classifier', bias: true, out: labels }], sizes.hidden),
          }),
      ...linearTokenClassifier(config, sizes.hidden),
    });
  },
};

/** RoBERTa: positions begin after the padding token's row; its classifier has a layer of its own (arXiv 1907.11692). */
export const roberta: Architecture = {
  name: 'roberta',
  modelTypes: ['roberta', 'camembert'],
  describe: (json, tensorNames) => describeRoberta('roberta', json, tensorNames),
};

/** XLM-RoBERTa: RoBERTa for many languages. */
export const xlmRoberta: Architecture = {
  name: 'xlm-roberta',
  modelTypes: ['xlm-roberta'],
  describe: (json, tensorNames) => describeRoberta('xlm-roberta', json, tensorNames),
};

function describeRoberta(
  architecture: string,
  json: Readonly<Record<string, unknown>>,
  tensorNames: ReadonlySet<string> | undefined,
): ModelDescription {
  const config = new ConfigReader(json);
  const sizes = readSizes(config, 'roberta.', tensorNames);
  const { hidden, root } = sizes;
  const pooler = `${root}pooler.dense`;
  return describeEncoderLike({
    ...sizes,
    architecture,
    firstPosition: config.number('pad_token_id', 1) + 1,
    ...(tensorNames?.has(`${pooler}.weight`)
      ? { pooler: sequenceOutput([{ linear: pooler, bias: true, out: hidden }, { activation: 'tanh' }], hidden) }
      : {}),
    ...(classifiesSequences(config) ? { classifier: denseClassifier(hidden, labelCount(config)) } : {}),
    ...linearTokenClassifier(config, hidden),
  });
}

/** The classifier of RoBERTa and MPNet: a layer with tanh, then the scores. */
export const denseClassifier = (hidden: number, labels: number) =>
  sequenceOutput(
    [
      { linear: 'classifier.dense', bias: true, out: hidden },
      { activation: 'tanh' },
      { linear: 'classifier.out_proj', bias: true, out: labels },
    ],
    hidden,
  );

/** What BERT and RoBERTa configs share. */
function readSizes(
  config: ConfigReader,
  root: string,
  tensorNames: ReadonlySet<string> | undefined,
): Omit<EncoderVariant, 'architecture'> {
  config.only('is_decoder', [false], 'only encoders are supported');
  config.only('add_cross_attention', [false], 'cross attention is not supported');
  config.only('position_embedding_type', ['absolute'], 'only absolute positions are supported');
  const hidden = config.positiveInteger('hidden_size', 768);
  const heads = headCount(config, 'num_attention_heads', 'hidden_size', hidden);
  const own = rootOf(root, tensorNames, classifies(config));
  return {
    hidden,
    heads,
    intermediate: config.positiveInteger('intermediate_size', 3072),
    layers: config.positiveInteger('num_hidden_layers', 12),
    vocabulary: config.positiveInteger('vocab_size'),
    epsilon: config.number('layer_norm_eps', 1e-12),
    activation: config.activation('hidden_act', 'gelu'),
    root: own,
    positions: config.positiveInteger('max_position_embeddings', 512),
    firstPosition: 0,
    segments: config.positiveInteger('type_vocab_size', 2),
    blockPrefix: (layer) => `${own}encoder.layer.${layer}`,
    names,
  };
}

/** Heads, which must divide the width. */
export function headCount(config: ConfigReader, key: string, widthKey: string, width: number): number {
  const heads = config.positiveInteger(key, 12);
  if (width % heads !== 0) config.refuse(key, `it must divide ${widthKey} ${width}`);
  return heads;
}

/**
 * The prefix of the names, if the checkpoint has it. When the names are not known, a model with a head has the prefix.
 */
export const rootOf = (prefix: string, tensorNames: ReadonlySet<string> | undefined, withHead: boolean): string =>
  (tensorNames ? [...tensorNames].some((name) => name.startsWith(prefix)) : withHead) ? prefix : '';
