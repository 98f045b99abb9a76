import type {
  Activation,
  Architecture,
  BlockDescription,
  CacheSite,
  LinearDescription,
  Runtime,
  ScalableEdge,
} from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { type RotaryPositions, readRotaryPositions } from '../rotary-positions.js';
import { headCount, rootOf } from './bert.js';
import { layerNorm } from './layer-norm.js';
import { linear, linearTensors, normTensors } from './linear-description.js';
import {
  classifies,
  classifiesSequences,
  classifiesTokens,
  labelCount,
  type OutputStep,
  sequenceOutput,
  tokenOutput,
} from './sequence-output.js';

interface Sizes {
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly normBias: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly root: string;
}

/** Attention of a layer: to all tokens, or to near ones. */
interface Reach {
  readonly rotary: RotaryPositions;
  readonly window?: number;
}

/** ModernBERT: rotary positions, pre-norm blocks, fused projections, windows in most layers (arXiv 2412.13663). */
export const modernbert: Architecture = {
  name: 'modernbert',
  modelTypes: ['modernbert'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const hidden = config.positiveInteger('hidden_size', 768);
    const heads = headCount(config, 'num_attention_heads', 'hidden_size', hidden);
    const sizes: Sizes = {
      hidden,
      heads,
      intermediate: config.positiveInteger('intermediate_size', 1152),
      epsilon: config.number('norm_eps', 1e-5),
      activation: config.activation('hidden_activation', 'gelu'),
      normBias: config.boolean('norm_bias', false),
      attentionBias: config.boolean('attention_bias', false),
      mlpBias: config.boolean('mlp_bias', false),
      root: rootOf('model.', tensorNames, classifies(config)),
    };
    const layers = config.positiveInteger('num_hidden_layers', 22);
    const full: Reach = { rotary: rotaryOf(config, 'full_attention', 'global_rope_theta', 160000, hidden / heads) };
    const near: Reach = {
      rotary: rotaryOf(config, 'sliding_attention', 'local_rope_theta', 10000, hidden / heads),
      window: Math.floor(config.positiveInteger('local_attention', 128) / 2) + 1,
    };
    const types = layerTypes(config, layers);
    const blocks = types.map((type, index) => describeBlock(sizes, index, type === 'full_attention' ? full : near));
    const vocabulary = config.positiveInteger('vocab_size', 50368);
    const { root, epsilon, normBias } = sizes;
    const [tokens, embeddingNorm, lastNorm] = [
      `${root}embeddings.tok_embeddings.weight`,
      `${root}embeddings.norm`,
      `${root}final_norm`,
    ];
    const names = (norm: string) => normTensors([norm], hidden, normBias).map(([name]) => name);
    const classifier = classifiesSequences(config) ? classifierOf(config, sizes) : undefined;
    const tokenClassifier = classifiesTokens(config) ? tokenOutput(scoringSteps(config, sizes), hidden) : undefined;
    return {
      architecture: 'modernbert',
      hiddenSize: hidden,
      vocabularySize: vocabulary,
      maxPositions: config.positiveInteger('max_position_embeddings', 8192),
      blocks,
      embeddingTensors: [tokens, ...names(embeddingNorm)],
      tokenTable: tokens,
      headTensors: names(lastNorm),
      ties: new Map(),
      ...(classifier ? { classifier } : {}),
      ...(tokenClassifier ? { tokenClassifier } : {}),
      expected: new Map([
        [tokens, [vocabulary, hidden]],
        ...normTensors([embeddingNorm], hidden, normBias),
        ...blocks.flatMap(({ prefix, index, linears }) => [
          ...normTensors([...(index > 0 ? [`${prefix}.attn_norm`] : []), `${prefix}.mlp_norm`], hidden, normBias),
          ...linears.flatMap(linearTensors),
        ]),
        ...normTensors([lastNorm], hidden, normBias),
        ...(classifier?.shapes ?? []),
        ...(tokenClassifier?.shapes ?? []),
      ]),
      embed: (runtime, ids, batch, length) =>
        layerNorm(runtime, embeddingNorm, runtime.ops.embed(runtime.weight(tokens), ids, batch, length), epsilon),
      finalNorm: (runtime, x) => layerNorm(runtime, lastNorm, x, epsilon),
    };
  },
};

function rotaryOf(config: ConfigReader, type: string, key: string, absent: number, headDim: number): RotaryPositions {
  config.only('rope_scaling', [], 'scaled rotary positions are not supported for this architecture');
  const own = config.object('rope_parameters').object(type);
  own.only('rope_type', ['default'], 'only the default rotary positions are supported for this architecture');
  const theta = own.has('rope_theta') ? own.number('rope_theta') : config.number(key, absent);
  return readRotaryPositions(new ConfigReader({ rope_theta: theta }), headDim);
}

function layerTypes(config: ConfigReader, layers: number): readonly string[] {
  const types = config.strings('layer_types');
  if (!types) {
    const every = config.positiveInteger('global_attn_every_n_layers', 3);
    return Array.from({ length: layers }, (_, i) => (i % every === 0 ? 'full_attention' : 'sliding_attention'));
  }
  const known = types.every((type) => type === 'full_attention' || type === 'sliding_attention');
  if (types.length !== layers || !known)
    config.refuse('layer_types', `full_attention or sliding_attention is needed for each of the ${layers} layers`);
  return types;
}

function classifierOf(config: ConfigReader, sizes: Sizes) {
  config.only('classifier_pooling', ['cls', 'mean'], 'a classifier pools by cls or mean');
  const pooling = config.string('classifier_pooling', 'cls') === 'mean' ? 'mean' : 'first';
  return sequenceOutput(scoringSteps(config, sizes), sizes.hidden, pooling);
}

/** From hidden states to the scores of classes, of sequences or of tokens. */
const scoringSteps = (config: ConfigReader, { hidden, epsilon, normBias }: Sizes): readonly OutputStep[] => [
  { linear: 'head.dense', bias: config.boolean('classifier_bias', false), out: hidden },
  { activation: config.activation('classifier_activation', 'gelu') },
  { norm: 'head.norm', bias: normBias, epsilon },
  { linear: 'classifier', bias: true, out: labelCount(config) },
];

function describeBlock(sizes: Sizes, index: number, reach: Reach): BlockDescription {
  const { hidden, intermediate, heads, epsilon, activation, normBias } = sizes;
  const prefix = `${sizes.root}layers.${index}`;
  const [qkv, output] = [`${prefix}.attn.Wqkv`, `${prefix}.attn.Wo`];
  const [up, down] = [`${prefix}.mlp.Wi`, `${prefix}.mlp.Wo`];
  // The first block reads the embeddings' norm.
  const attentionNorm = index > 0 ? `${prefix}.attn_norm` : undefined;
  const mlpNorm = `${prefix}.mlp_norm`;
  const linears: LinearDescription[] = [
    linear(qkv, hidden, 3 * hidden, sizes.attentionBias, 'query', 'key', 'value'),
    linear(output, hidden, hidden, sizes.attentionBias, 'output'),
    linear(up, hidden, 2 * intermediate, sizes.mlpBias, 'gate', 'up'),
    linear(down, intermediate, hidden, sizes.mlpBias, 'down'),
  ];
  const headDim = hidden / heads;
  const site = (kind: CacheSite['kind'], stage: CacheSite['stage']): CacheSite => ({ block: index, kind, stage });
  const normed = <T>(runtime: Runtime<T>, norm: string | undefined, x: T): T =>
    norm === undefined ? x : layerNorm(runtime, norm, x, epsilon);
  const fromNorm = (id: string, norm: string | undefined, consumer: string): ScalableEdge[] =>
    norm === undefined ? [] : [{ id, producer: { kind: 'norm', module: norm }, consumers: [consumer] }];
  return {
    index,
    prefix,
    linears,
    tensors: [
      ...normTensors([...(attentionNorm ? [attentionNorm] : []), mlpNorm], hidden, normBias).map(([name]) => name),
      ...linears.flatMap((each) => linearTensors(each).map(([name]) => name)),
    ],
    edges: [
      ...fromNorm('attn_norm->Wqkv', attentionNorm, qkv),
      {
        id: 'values->Wo',
        producer: { kind: 'linear', module: qkv, rows: [2 * hidden, 3 * hidden] },
        consumers: [output],
      },
      ...fromNorm('mlp_norm->Wi', mlpNorm, up),
      {
        id: 'Wi->Wo',
        producer: { kind: 'linear', module: up, rows: [intermediate, 2 * intermediate] },
        consumers: [down],
      },
    ],
    fusionGroups: [],
    attention: { heads, kvHeads: heads, headDim, value: { module: qkv, rows: [2 * hidden, 3 * hidden] }, output },
    mlpOutputs: [down],
    begin: (runtime, x) => ({ residual: x, input: normed(runtime, attentionNorm, x) }),
    stages: [
      {
        name: 'attention',
        linears: [qkv],
        run<T>(runtime: Runtime<T>, { residual, input }: { residual: T; input: T }) {
          const { ops } = runtime;
          const [q, k, v] = ops.split(runtime.linear(qkv, input), [hidden, hidden, hidden]) as [T, T, T];
          const table = reach.rotary.table(ops.shape(input)[1]!);
          const mixed = ops.attention({
            q: runtime.query(index, ops.rotary(q, heads, table)),
            k: runtime.cache(
              site('key', 'afterRope'),
              ops.rotary(runtime.cache(site('key', 'beforeRope'), k), heads, table),
            ),
            v: runtime.cache(site('value', 'afterRope'), v),
            heads,
            kvHeads: heads,
            headDim,
            scale: 1 / Math.sqrt(headDim),
            causal: false,
            window: reach.window,
          });
          return { residual, input: mixed };
        },
      },
      {
        name: 'attention output',
        linears: [output],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = runtime.ops.add(residual, runtime.linear(output, input));
          return { residual: sum, input: layerNorm(runtime, mlpNorm, sum, epsilon) };
        },
      },
      {
        name: 'mlp',
        linears: [up],
        run<T>(runtime: Runtime<T>, { residual, input }: { residual: T; input: T }) {
          const { ops } = runtime;
          const [first, second] = ops.split(runtime.linear(up, input), [intermediate, intermediate]) as [T, T];
          return { residual, input: ops.mul(ops.activation(activation, first), second) };
        },
      },
      {
        name: 'mlp output',
        linears: [down],
        addsToResidual: true,
        run(runtime, { residual, input }) {
          const sum = runtime.ops.add(residual, runtime.linear(down, input));
          return { residual: sum, input: sum };
        },
      },
    ],
  };
}
