import type { Activation, BlockDescription, CacheSite, LinearDescription, ModelDescription, Runtime } from '@q/core';
import type { ConfigReader } from '../config-reader.js';
import { type RotaryPositions, readRotaryPositions } from '../rotary-positions.js';
import { type FeedForward, gatedMlp } from './feed-forward.js';
import { linear, linearTensors, normTensors } from './linear-description.js';
import { describeResidualStream } from './residual-stream.js';

/** In what the descendants of Llama differ. */
export interface LlamaVariant {
  readonly architecture: string;
  readonly queryKeyValueBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Key heads where the config does not say. */
  readonly defaultKeyValueHeads?: number;
  /** Base of the rotary frequencies where the config does not say; 10000 when absent. */
  readonly defaultTheta?: number;
  /** Of the norms, where the config does not say; 1e-6 when absent. */
  readonly defaultEpsilon?: number;
  /** Sliding window of a layer in tokens; unlimited when absent. */
  window(layer: number): number | undefined;
  /** What follows the attention of a layer; a gated MLP of `intermediate_size` when absent. */
  feedForward?(
    layer: number,
    sizes: { readonly hidden: number; readonly activation: Activation },
  ): FeedForward | undefined;
}

interface Sizes {
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly rotary: RotaryPositions;
}

/** Pre-norm blocks with RMS norms, rotary positions, grouped-query attention and a gated MLP. */
export function describeLlamaLike(config: ConfigReader, variant: LlamaVariant): ModelDescription {
  const hidden = config.positiveInteger('hidden_size');
  const heads = config.positiveInteger('num_attention_heads');
  const kvHeads = config.positiveInteger('num_key_value_heads', variant.defaultKeyValueHeads ?? heads);
  if (heads % kvHeads !== 0) config.refuse('num_key_value_heads', `it must divide the ${heads} attention heads`);
  const headDim = config.has('head_dim') ? config.positiveInteger('head_dim') : hidden / heads;
  if (!Number.isInteger(headDim / 2)) config.refuse('head_dim', `rotary positions need an even size, not ${headDim}`);
  const sizes: Sizes = {
    hidden,
    heads,
    kvHeads,
    headDim,
    epsilon: config.number('rms_norm_eps', variant.defaultEpsilon ?? 1e-6),
    activation: config.activation('hidden_act', 'silu'),
    rotary: readRotaryPositions(config, headDim, variant.defaultTheta),
  };
  const layers = config.positiveInteger('num_hidden_layers');
  const vocabulary = config.positiveInteger('vocab_size');
  const tied = config.boolean('tie_word_embeddings', false);
  const embedding = 'model.embed_tokens.weight';
  const head = linear('lm_head', hidden, vocabulary, false, 'head');
  const feedForward = (layer: number) =>
    variant.feedForward?.(layer, sizes) ??
    gatedMlp(
      `model.layers.${layer}.mlp`,
      hidden,
      config.positiveInteger('intermediate_size'),
      sizes.activation,
      variant.mlpBias,
    );
  const described = Array.from({ length: layers }, (_, index) => {
    const own = feedForward(index);
    return { block: describeBlock(sizes, variant, index, own), kept: own.kept };
  });
  const blocks = described.map(({ block }) => block);
  const finalNorm = <T>(runtime: Runtime<T>, x: T): T => rmsNorm(runtime, 'model.norm', x, sizes.epsilon);
  return {
    architecture: variant.architecture,
    hiddenSize: hidden,
    vocabularySize: vocabulary,
    maxPositions: config.positiveInteger('max_position_embeddings', 2048),
    blocks,
    embeddingTensors: [embedding],
    headTensors: ['model.norm.weight', tied ? embedding : 'lm_head.weight'],
    head,
    ties: new Map(tied ? [['lm_head.weight', embedding]] : []),
    residualStream: describeResidualStream(blocks, 'rms', [embedding], 'model.norm', head.module),
    expected: new Map([
      [embedding, [vocabulary, hidden]],
      ...described.flatMap(({ block: { prefix, linears }, kept }) => [
        ...normTensors([`${prefix}.input_layernorm`, `${prefix}.post_attention_layernorm`], hidden, false),
        ...kept,
        ...linears.flatMap(linearTensors),
      ]),
      ...normTensors(['model.norm'], hidden, false),
      ...(tied ? [] : linearTensors(head)),
    ]),
    embed: (runtime, ids, batch, length) => runtime.ops.embed(runtime.weight(embedding), ids, batch, length),
    finalNorm,
    logits: (runtime, x) => runtime.linear(head.module, finalNorm(runtime, x)),
  };
}

function describeBlock(sizes: Sizes, variant: LlamaVariant, index: number, feedForward: FeedForward): BlockDescription {
  const { hidden, heads, kvHeads, headDim, epsilon } = sizes;
  const prefix = `model.layers.${index}`;
  const [q, k, v, o] = ['q', 'k', 'v', 'o'].map((name) => `${prefix}.self_attn.${name}_proj`) as Four;
  const attentionNorm = `${prefix}.input_layernorm`;
  const mlpNorm = `${prefix}.post_attention_layernorm`;
  const linears: LinearDescription[] = [
    linear(q, hidden, heads * headDim, variant.queryKeyValueBias, 'query'),
    linear(k, hidden, kvHeads * headDim, variant.queryKeyValueBias, 'key'),
    linear(v, hidden, kvHeads * headDim, variant.queryKeyValueBias, 'value'),
    linear(o, heads * headDim, hidden, variant.outputBias, 'output'),
    ...feedForward.linears,
  ];
  const site = (kind: CacheSite['kind'], stage: CacheSite['stage']): CacheSite => ({ layer: index, kind, stage });
  return {
    index,
    prefix,
    linears,
    tensors: [
      `${attentionNorm}.weight`,
      `${mlpNorm}.weight`,
      ...feedForward.kept.map(([name]) => name),
      ...linears.flatMap((each) => linearTensors(each).map(([name]) => name)),
    ],
    edges: [
      { id: 'input_layernorm->q,k,v', producer: { kind: 'norm', module: attentionNorm }, consumers: [q, k, v] },
      {
        id: 'v->o',
        producer: { kind: 'linear', module: v },
        consumers: [o],
        repeat: { times: heads / kvHeads, headDim },
      },
      {
        id: feedForward.experts ? 'post_attention_layernorm->experts' : 'post_attention_layernorm->gate,up',
        producer: { kind: 'norm', module: mlpNorm },
        consumers: feedForward.readers,
      },
      ...feedForward.edges,
    ],
    fusionGroups: [[q, k, v], ...feedForward.fusionGroups],
    ...(feedForward.experts ? { experts: feedForward.experts } : {}),
    attention: { heads, kvHeads, headDim, value: { module: v }, output: o },
    mlpOutputs: feedForward.outputs,
    begin: (runtime, x) => ({ residual: x, input: rmsNorm(runtime, attentionNorm, x, epsilon) }),
    stages: [
      {
        name: 'attention',
        linears: [q, k, v],
        run(runtime, { residual, input }) {
          const { ops, start = 0 } = runtime;
          const table = sizes.rotary.table(start + ops.shape(input)[1]!);
          const queries = runtime.linear(q, input);
          const keys = runtime.cache(site('key', 'beforeRope'), runtime.linear(k, input));
          const mixed = ops.attention({
            q: runtime.query(index, ops.rotary(queries, heads, table, start)),
            k: runtime.cache(site('key', 'afterRope'), ops.rotary(keys, kvHeads, table, start)),
            v: runtime.cache(site('value', 'afterRope'), runtime.linear(v, input)),
            heads,
            kvHeads,
            headDim,
            scale: 1 / Math.sqrt(headDim),
            window: variant.window(index),
          });
          return { residual, input: mixed };
        },
      },
      {
        name: 'attention output',
        linears: [o],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = runtime.ops.add(residual, runtime.linear(o, input));
          const normed = rmsNorm(runtime, mlpNorm, sum, epsilon);
          return { residual: sum, input: normed, ...feedForward.route?.(runtime, normed) };
        },
      },
      ...feedForward.stages,
    ],
  };
}

function rmsNorm<T>(runtime: Runtime<T>, module: string, x: T, epsilon: number): T {
  return runtime.ops.rmsNorm(x, runtime.weight(`${module}.weight`), epsilon);
}

type Four = [string, string, string, string];
