import {
  type Activation,
  type Architecture,
  type BlockDescription,
  type CacheSite,
  type ModelDescription,
  type NormDescription,
  type Runtime,
  ShapeError,
} from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { linear, linearTensors, normTensors } from './linear-description.js';
import { describeResidualStream } from './residual-stream.js';

interface Sizes {
  readonly hidden: number;
  readonly feedForward: number;
  readonly heads: number;
  readonly bias: boolean;
  readonly activation: Activation;
  /** Norms before the linears (all but opt-350m), or after the residual sums. */
  readonly normFirst: boolean;
  /** `model.decoder`, or `decoder` in checkpoints of the model without its head. */
  readonly root: string;
}

/** The position table starts with two rows that no token uses: padding, in the fairseq original. */
const positionOffset = 2;
const epsilon = 1e-5;

/** OPT: learned positions, biases, ReLU, separate q, k, v. */
export const opt: Architecture = {
  name: 'opt',
  modelTypes: ['opt'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const hidden = config.positiveInteger('hidden_size');
    config.only('word_embed_proj_dim', [hidden], `embeddings projected to the hidden size ${hidden} are not supported`);
    config.only('layer_norm_elementwise_affine', [true], 'norms without weights are not supported');
    const heads = config.positiveInteger('num_attention_heads');
    if (hidden % heads !== 0) config.refuse('num_attention_heads', `it must divide hidden_size ${hidden}`);
    const sizes: Sizes = {
      hidden,
      feedForward: config.positiveInteger('ffn_dim'),
      heads,
      bias: config.boolean('enable_bias', true),
      activation: config.activation('activation_function', 'relu'),
      normFirst: config.boolean('do_layer_norm_before', true),
      root: tensorNames?.has('decoder.embed_tokens.weight') ? 'decoder' : 'model.decoder',
    };
    const layers = config.positiveInteger('num_hidden_layers');
    const blocks = Array.from({ length: layers }, (_, index) => describeBlock(sizes, index));
    return describeWhole(config, sizes, blocks);
  },
};

function describeWhole(config: ConfigReader, sizes: Sizes, blocks: readonly BlockDescription[]): ModelDescription {
  const { hidden, root } = sizes;
  const vocabulary = config.positiveInteger('vocab_size');
  const positions = config.positiveInteger('max_position_embeddings', 2048);
  const tied = config.boolean('tie_word_embeddings', true);
  const tokens = `${root}.embed_tokens.weight`;
  const places = `${root}.embed_positions.weight`;
  const hasFinalNorm = sizes.normFirst && !config.boolean('_remove_final_layer_norm', false);
  const norms = hasFinalNorm ? normTensors([`${root}.final_layer_norm`], hidden, true) : [];
  const head = linear('lm_head', hidden, vocabulary, false, 'head');
  const stream = describeResidualStream(blocks, {
    embeddings: [tokens, places],
    kind: 'layer',
    finalNorm: hasFinalNorm ? `${root}.final_layer_norm` : undefined,
    head: head.module,
    others: sizes.normFirst ? [] : blocks.flatMap(describePostNorms),
  });
  const finalNorm = <T>(runtime: Runtime<T>, x: T): T =>
    hasFinalNorm ? layerNorm(runtime, `${root}.final_layer_norm`, x) : x;
  return {
    architecture: 'opt',
    hiddenSize: hidden,
    vocabularySize: vocabulary,
    maxPositions: positions,
    blocks,
    embeddingTensors: [tokens, places],
    tokenTable: tokens,
    headTensors: [...norms.map(([name]) => name), tied ? tokens : 'lm_head.weight'],
    head,
    ties: new Map(tied ? [['lm_head.weight', tokens]] : []),
    residualStream: stream,
    ...(root === 'decoder' ? { headless: true } : {}),
    expected: new Map([
      [tokens, [vocabulary, hidden]],
      [places, [positions + positionOffset, hidden]],
      ...blocks.flatMap(({ prefix, linears }) => [
        ...normTensors([`${prefix}.self_attn_layer_norm`, `${prefix}.final_layer_norm`], hidden, true),
        ...linears.flatMap(linearTensors),
      ]),
      ...norms,
      ...(tied ? [] : linearTensors(head)),
    ]),
    embed(runtime, ids, batch, length) {
      const { ops, start = 0 } = runtime;
      if (start + length > positions)
        throw new ShapeError(`${start + length} tokens are more than the model's ${positions} positions`);
      const positional = ops.rows(runtime.weight(places), positionOffset + start, length);
      return ops.add(ops.embed(runtime.weight(tokens), ids, batch, length), positional);
    },
    finalNorm,
    logits: (runtime, x) => runtime.linear(head.module, finalNorm(runtime, x)),
  };
}

/** After the sum: their output is the stream, which the next linears read. */
function describePostNorms({ prefix, stages }: BlockDescription): NormDescription[] {
  const reading = (stage: string) => stages.find(({ name }) => name === stage)!.linears;
  return [
    { module: `${prefix}.self_attn_layer_norm`, kind: 'layer', consumers: reading('mlp'), writesStream: true },
    { module: `${prefix}.final_layer_norm`, kind: 'layer', consumers: [], writesStream: true },
  ];
}

function describeBlock(sizes: Sizes, index: number): BlockDescription {
  const { hidden, feedForward, heads, bias, activation, normFirst } = sizes;
  const prefix = `${sizes.root}.layers.${index}`;
  const [q, k, v, o] = ['q_proj', 'k_proj', 'v_proj', 'out_proj'].map((name) => `${prefix}.self_attn.${name}`) as Four;
  const [up, down] = [`${prefix}.fc1`, `${prefix}.fc2`];
  const [attentionNorm, mlpNorm] = [`${prefix}.self_attn_layer_norm`, `${prefix}.final_layer_norm`];
  const linears = [
    linear(q, hidden, hidden, bias, 'query'),
    linear(k, hidden, hidden, bias, 'key'),
    linear(v, hidden, hidden, bias, 'value'),
    linear(o, hidden, hidden, bias, 'output'),
    linear(up, hidden, feedForward, bias, 'up'),
    linear(down, feedForward, hidden, bias, 'down'),
  ];
  const site = (kind: CacheSite['kind']): CacheSite => ({ block: index, kind, stage: 'afterRope' });
  const before = <T>(runtime: Runtime<T>, norm: string, x: T): T => (normFirst ? layerNorm(runtime, norm, x) : x);
  const after = <T>(runtime: Runtime<T>, norm: string, x: T): T => (normFirst ? x : layerNorm(runtime, norm, x));
  return {
    index,
    prefix,
    linears,
    tensors: [
      ...[attentionNorm, mlpNorm].flatMap((module) => [`${module}.weight`, `${module}.bias`]),
      ...linears.flatMap((each) => linearTensors(each).map(([name]) => name)),
    ],
    edges: [
      // A norm after the sum also feeds the residual, so its channels cannot be scaled for the linears alone.
      ...(normFirst
        ? [
            {
              id: 'self_attn_layer_norm->q,k,v',
              producer: { kind: 'norm' as const, module: attentionNorm },
              consumers: [q, k, v],
            },
            { id: 'final_layer_norm->fc1', producer: { kind: 'norm' as const, module: mlpNorm }, consumers: [up] },
          ]
        : []),
      { id: 'v->out', producer: { kind: 'linear', module: v }, consumers: [o] },
      ...(activation === 'relu'
        ? [
            {
              id: 'fc1->fc2',
              producer: { kind: 'linear' as const, module: up },
              consumers: [down],
              through: 'relu' as const,
            },
          ]
        : []),
    ],
    fusionGroups: [[q, k, v]],
    attention: { heads, kvHeads: heads, headDim: hidden / heads, value: { module: v }, output: o },
    mlpOutputs: [down],
    begin: (runtime, x) => ({ residual: x, input: before(runtime, attentionNorm, x) }),
    stages: [
      {
        name: 'attention',
        linears: [q, k, v],
        run(runtime, { residual, input }) {
          const mixed = runtime.ops.attention({
            q: runtime.query(index, runtime.linear(q, input)),
            k: runtime.cache(site('key'), runtime.linear(k, input)),
            v: runtime.cache(site('value'), runtime.linear(v, input)),
            heads,
            kvHeads: heads,
            headDim: hidden / heads,
            scale: 1 / Math.sqrt(hidden / heads),
          });
          return { residual, input: mixed };
        },
      },
      {
        name: 'attention output',
        linears: [o],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = after(runtime, attentionNorm, runtime.ops.add(residual, runtime.linear(o, input)));
          return { residual: sum, input: before(runtime, mlpNorm, sum) };
        },
      },
      {
        name: 'mlp',
        linears: [up],
        run: (runtime, { residual, input }) => ({
          residual,
          input: runtime.ops.activation(activation, runtime.linear(up, input)),
        }),
      },
      {
        name: 'mlp output',
        linears: [down],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = after(runtime, mlpNorm, runtime.ops.add(residual, runtime.linear(down, input)));
          return { residual: sum, input: sum };
        },
      },
    ],
  };
}

function layerNorm<T>(runtime: Runtime<T>, module: string, x: T): T {
  return runtime.ops.layerNorm(x, runtime.weight(`${module}.weight`), runtime.weight(`${module}.bias`), epsilon);
}

type Four = [string, string, string, string];
