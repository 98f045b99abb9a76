import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { denseClassifier, headCount, rootOf } from './bert.js';
import { describeEncoderLike } from './encoder-like.js';
import { relativePositionBuckets } from './relative-positions.js';
import {
  classifies,
  classifiesSequences,
  labelCount,
  linearTokenClassifier,
  sequenceOutput,
} from './sequence-output.js';

/** Buckets of relative positions; transformers uses this number for any config. */
const buckets = 32;
/** Distance from which all keys of a side share a bucket. */
const maxDistance = 128;

/** MPNet: RoBERTa's positions, and a bias by relative positions that all blocks share (arXiv 2004.09297). */
export const mpnet: Architecture = {
  name: 'mpnet',
  modelTypes: ['mpnet'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const hidden = config.positiveInteger('hidden_size', 768);
    const heads = headCount(config, 'num_attention_heads', 'hidden_size', hidden);
    const root = rootOf('mpnet.', tensorNames, classifies(config));
    config.only('relative_attention_num_buckets', [buckets], `MPNet has ${buckets} buckets of relative positions`);
    const table = `${root}encoder.relative_attention_bias.weight`;
    const pooler = `${root}pooler.dense`;
    return describeEncoderLike({
      architecture: 'mpnet',
      hidden,
      intermediate: config.positiveInteger('intermediate_size', 3072),
      heads,
      layers: config.positiveInteger('num_hidden_layers', 12),
      vocabulary: config.positiveInteger('vocab_size', 30527),
      epsilon: config.number('layer_norm_eps', 1e-12),
      activation: config.activation('hidden_act', 'gelu'),
      root,
      positions: config.positiveInteger('max_position_embeddings', 512),
      // The first row after that of the padding token, which is 1 for any config.
      firstPosition: 2,
      segments: 0,
      blockPrefix: (layer) => `${root}encoder.layer.${layer}`,
      names: {
        query: 'attention.attn.q',
        key: 'attention.attn.k',
        value: 'attention.attn.v',
        output: 'attention.attn.o',
        attentionNorm: 'attention.LayerNorm',
        up: 'intermediate.dense',
        down: 'output.dense',
        outputNorm: 'output.LayerNorm',
      },
      bias: {
        tensor: table,
        shape: [buckets, heads],
        scores({ ops, weight }, length) {
          // Rows of the table by bucket, `[length * length, heads]`, transposed to a plane for each head.
          const ids = relativePositionBuckets(length, buckets, maxDistance);
          const rows = ops.embed(weight(table), ids, 1, length * length);
          return ops.reshape(ops.transpose(rows), [heads, length, length]);
        },
      },
      ...(tensorNames?.has(`${pooler}.weight`)
        ? { pooler: sequenceOutput([{ linear: pooler, bias: true, out: hidden }, { activation: 'tanh' }], hidden) }
        : {}),
      ...(classifiesSequences(config) ? { classifier: denseClassifier(hidden, labelCount(config)) } : {}),
      ...linearTokenClassifier(config, hidden),
    });
  },
};
