import type { ModelDescription } from '@q/core';
import type { ConfigReader } from '../config-reader.js';
import { describeLlamaLike, type LlamaVariant, type NormPlaces } from './llama-like.js';

/** Norms before and after both parts of a block. */
const norms: NormPlaces = {
  attention: { before: 'input_layernorm', after: 'post_attention_layernorm' },
  feedForward: { before: 'pre_feedforward_layernorm', after: 'post_feedforward_layernorm' },
};

/**
 * The common parts of Gemma 2 and 3: norms around both parts with gains 1 + weight, embeddings times the root of the
 * hidden size, a separate head size, scores scaled by `query_pre_attn_scalar`, soft caps.
 */
export function describeGemma(
  config: ConfigReader,
  variant: Pick<LlamaVariant, 'architecture' | 'tensorNames' | 'window' | 'rotary' | 'queryKeyNorm' | 'headless'> & {
    readonly caps: { readonly scores?: number; readonly logits?: number };
    readonly causal?: boolean;
    /** Multiplies the scores; from `query_pre_attn_scalar` when absent. */
    readonly scale?: number;
    /** False: no norms after the parts, as in the first Gemma. */
    readonly normsBehind?: boolean;
  },
): ModelDescription {
  const bias = config.boolean('attention_bias', false);
  const cap = (key: string, absent: number | undefined) =>
    absent === undefined && !config.has(key) ? undefined : config.number(key, absent);
  const { caps, causal = true, normsBehind = true, scale, ...own } = variant;
  const softCap = cap('attn_logit_softcapping', caps.scores);
  return describeLlamaLike(config, {
    ...own,
    ...(normsBehind ? { names: { norms } } : {}),
    queryKeyValueBias: bias,
    outputBias: bias,
    mlpBias: false,
    defaultKeyValueHeads: 4,
    defaultHeadDim: 256,
    defaultTied: true,
    activation: [config.has('hidden_activation') ? 'hidden_activation' : 'hidden_act', 'gelu_pytorch_tanh'],
    gainOffset: 1,
    embeddingFactor: Math.sqrt(config.positiveInteger('hidden_size')),
    logitCap: cap('final_logit_softcapping', caps.logits),
    attention: {
      scale: scale ?? 1 / Math.sqrt(config.number('query_pre_attn_scalar', 256)),
      ...(softCap === undefined ? {} : { softCap }),
      ...(causal ? {} : { causal }),
    },
  });
}
