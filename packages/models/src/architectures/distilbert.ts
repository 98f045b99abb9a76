import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { headCount, rootOf } from './bert.js';
import { describeEncoderLike } from './encoder-like.js';
import {
  classifies,
  classifiesSequences,
  labelCount,
  linearTokenClassifier,
  sequenceOutput,
} from './sequence-output.js';

/** DistilBERT: BERT without segments and pooler (arXiv 1910.01108). */
export const distilbert: Architecture = {
  name: 'distilbert',
  modelTypes: ['distilbert'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const hidden = config.positiveInteger('dim', 768);
    const root = rootOf('distilbert.', tensorNames, classifies(config));
    return describeEncoderLike({
      architecture: 'distilbert',
      hidden,
      intermediate: config.positiveInteger('hidden_dim', 3072),
      heads: headCount(config, 'n_heads', 'dim', hidden),
      layers: config.positiveInteger('n_layers', 6),
      vocabulary: config.positiveInteger('vocab_size'),
      epsilon: 1e-12,
      activation: config.activation('activation', 'gelu'),
      root,
      positions: config.positiveInteger('max_position_embeddings', 512),
      firstPosition: 0,
      segments: 0,
      blockPrefix: (layer) => `${root}transformer.layer.${layer}`,
      names: {
        query: 'attention.q_lin',
        key: 'attention.k_lin',
        value: 'attention.v_lin',
        output: 'attention.out_lin',
        attentionNorm: 'sa_layer_norm',
        up: 'ffn.lin1',
        down: 'ffn.lin2',
        outputNorm: 'output_layer_norm',
      },
      ...(classifiesSequences(config)
        ? {
            classifier: sequenceOutput(
              [
                { linear: 'pre_classifier', bias: true, out: hidden },
                { activation: 'relu' },
                { linear: 'classifier', bias: true, out: labelCount(config) },
              ],
              hidden,
            ),
          }
        : {}),
      ...linearTokenClassifier(config, hidden),
    });
  },
};
