import {
  type Activation,
  type Architecture,
  type BlockDescription,
  type CacheSite,
  type LinearDescription,
  type LinearRole,
  type ModelDescription,
  type Runtime,
  ShapeError,
} from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { linear, linearTensors, normTensors } from './linear-description.js';
import { describeResidualStream } from './residual-stream.js';

interface Sizes {
  readonly width: number;
  readonly inner: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: Activation;
  scale(layer: number): number;
  /** `transformer.`, or nothing in OpenAI's own checkpoints, which store the model without its head. */
  readonly prefix: string;
}

/** GPT-2: pre-norm blocks, learned positions, fused qkv. Its linears are `Conv1D`: the file stores them `[in, out]`. */
export const gpt2: Architecture = {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    config.only('add_cross_attention', [false], 'cross attention is not supported');
    const width = config.positiveInteger('n_embd');
    const heads = config.positiveInteger('n_head');
    if (width % heads !== 0) config.refuse('n_head', `it must divide n_embd ${width}`);
    const scaled = config.boolean('scale_attn_weights', true);
    const byLayer = config.boolean('scale_attn_by_inverse_layer_idx', false);
    const sizes: Sizes = {
      width,
      inner: config.positiveInteger('n_inner', 4 * width),
      heads,
      epsilon: config.number('layer_norm_epsilon', 1e-5),
      activation: config.activation('activation_function', 'gelu_new'),
      scale: (layer) => (scaled ? 1 / Math.sqrt(width / heads) : 1) / (byLayer ? layer + 1 : 1),
      prefix: tensorNames?.has('wte.weight') ? '' : 'transformer.',
    };
    const blocks = Array.from({ length: config.positiveInteger('n_layer') }, (_, index) => describeBlock(sizes, index));
    return describeWhole(config, sizes, blocks);
  },
};

function describeWhole(config: ConfigReader, sizes: Sizes, blocks: readonly BlockDescription[]): ModelDescription {
  const { width, prefix } = sizes;
  const vocabulary = config.positiveInteger('vocab_size');
  const positions = config.positiveInteger('n_positions', 1024);
  const tied = config.boolean('tie_word_embeddings', true);
  const [tokens, places, finalNormModule] = [`${prefix}wte.weight`, `${prefix}wpe.weight`, `${prefix}ln_f`] as const;
  const head = linear('lm_head', width, vocabulary, false, 'head');
  const finalNorm = <T>(runtime: Runtime<T>, x: T): T => layerNorm(runtime, finalNormModule, x, sizes.epsilon);
  return {
    architecture: 'gpt2',
    hiddenSize: width,
    vocabularySize: vocabulary,
    maxPositions: positions,
    blocks,
    embeddingTensors: [tokens, places],
    tokenTable: tokens,
    headTensors: [`${finalNormModule}.weight`, `${finalNormModule}.bias`, tied ? tokens : 'lm_head.weight'],
    head,
    ties: new Map(tied ? [['lm_head.weight', tokens]] : []),
    residualStream: describeResidualStream(blocks, {
      embeddings: [tokens, places],
      kind: 'layer',
      finalNorm: finalNormModule,
      head: head.module,
    }),
    ...(prefix === '' ? { headless: true } : {}),
    expected: new Map([
      [tokens, [vocabulary, width]],
      [places, [positions, width]],
      ...blocks.flatMap(({ prefix, linears }) => [
        ...normTensors([`${prefix}.ln_1`, `${prefix}.ln_2`], width, true),
        ...linears.flatMap(linearTensors),
      ]),
      ...normTensors([finalNormModule], width, true),
      ...(tied ? [] : linearTensors(head)),
    ]),
    embed(runtime, ids, batch, length) {
      const { ops, start = 0 } = runtime;
      if (start + length > positions)
        throw new ShapeError(`${start + length} tokens are more than the model's ${positions} positions`);
      const positional = ops.rows(runtime.weight(places), start, length);
      return ops.add(ops.embed(runtime.weight(tokens), ids, batch, length), positional);
    },
    finalNorm,
    logits: (runtime, x) => runtime.linear(head.module, finalNorm(runtime, x)),
  };
}

function describeBlock(sizes: Sizes, index: number): BlockDescription {
  const { width, inner, heads, epsilon } = sizes;
  const prefix = `${sizes.prefix}h.${index}`;
  const [attention, output] = [`${prefix}.attn.c_attn`, `${prefix}.attn.c_proj`];
  const [up, down] = [`${prefix}.mlp.c_fc`, `${prefix}.mlp.c_proj`];
  const [attentionNorm, mlpNorm] = [`${prefix}.ln_1`, `${prefix}.ln_2`];
  const conv1d = (
    module: string,
    inFeatures: number,
    outFeatures: number,
    ...roles: readonly LinearRole[]
  ): LinearDescription => ({
    module,
    roles,
    inFeatures,
    outFeatures,
    transposed: true,
    bias: true,
  });
  const linears = [
    conv1d(attention, width, 3 * width, 'query', 'key', 'value'),
    conv1d(output, width, width, 'output'),
    conv1d(up, width, inner, 'up'),
    conv1d(down, inner, width, 'down'),
  ];
  const site = (kind: CacheSite['kind']): CacheSite => ({ block: index, kind, stage: 'afterRope' });
  return {
    index,
    prefix,
    linears,
    tensors: [
      ...[attentionNorm, mlpNorm].flatMap((module) => [`${module}.weight`, `${module}.bias`]),
      ...linears.flatMap((each) => linearTensors(each).map(([name]) => name)),
    ],
    edges: [
      { id: 'ln_1->c_attn', producer: { kind: 'norm', module: attentionNorm }, consumers: [attention] },
      {
        id: 'v->c_proj',
        producer: { kind: 'linear', module: attention, rows: [2 * width, 3 * width] },
        consumers: [output],
      },
      { id: 'ln_2->c_fc', producer: { kind: 'norm', module: mlpNorm }, consumers: [up] },
    ],
    fusionGroups: [],
    attention: {
      heads,
      kvHeads: heads,
      headDim: width / heads,
      value: { module: attention, rows: [2 * width, 3 * width] },
      output,
    },
    mlpOutputs: [down],
    begin: (runtime, x) => ({ residual: x, input: layerNorm(runtime, attentionNorm, x, epsilon) }),
    stages: [
      {
        name: 'attention',
        linears: [attention],
        run<T>(runtime: Runtime<T>, { residual, input }: { residual: T; input: T }) {
          const { ops } = runtime;
          const [q, k, v] = ops.split(runtime.linear(attention, input), [width, width, width]) as [T, T, T];
          const mixed = ops.attention({
            q: runtime.query(index, q),
            k: runtime.cache(site('key'), k),
            v: runtime.cache(site('value'), v),
            heads,
            kvHeads: heads,
            headDim: width / heads,
            scale: sizes.scale(index),
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
        run: (runtime, { residual, input }) => ({
          residual,
          input: runtime.ops.activation(sizes.activation, runtime.linear(up, input)),
        }),
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

function layerNorm<T>(runtime: Runtime<T>, module: string, x: T, epsilon: number): T {
  return runtime.ops.layerNorm(x, runtime.weight(`${module}.weight`), runtime.weight(`${module}.bias`), epsilon);
}
