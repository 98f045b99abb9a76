import {
  type Activation,
  type BlockDescription,
  type CacheSite,
  type LinearDescription,
  type ModelDescription,
  type Runtime,
  type SequenceOutput,
  ShapeError,
  type TokenOutput,
} from '@q/core';
import { layerNorm } from './layer-norm.js';
import { linear, linearTensors, normTensors } from './linear-description.js';
import type { WithShapes } from './sequence-output.js';

/** Module names of a block, below its prefix. */
export interface EncoderBlockNames {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  readonly attentionNorm: string;
  readonly up: string;
  readonly down: string;
  readonly outputNorm: string;
}

/** The differences between the descendants of BERT. */
export interface EncoderVariant {
  readonly architecture: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly layers: number;
  readonly vocabulary: number;
  readonly epsilon: number;
  readonly activation: Activation;
  /** The prefix of all names: `bert.` in a model with a head, empty without. */
  readonly root: string;
  /** Rows of the position table, and the row of the first token. */
  readonly positions: number;
  readonly firstPosition: number;
  /** Rows of the table of segments; the first row is added to every token; 0 if there is no table. */
  readonly segments: number;
  readonly blockPrefix: (layer: number) => string;
  readonly names: EncoderBlockNames;
  /** Added to the scores of every block's attention, with its table. */
  readonly bias?: {
    readonly tensor: string;
    readonly shape: readonly number[];
    /** `[heads, length, length]` */
    scores<T>(runtime: Runtime<T>, length: number): T;
  };
  readonly pooler?: SequenceOutput & WithShapes;
  readonly classifier?: SequenceOutput & WithShapes;
  readonly tokenClassifier?: TokenOutput & WithShapes;
}

/** Encoders with norms after the residual sums, learned positions and attention both ways (BERT, arXiv 1810.04805). */
export function describeEncoderLike(variant: EncoderVariant): ModelDescription {
  const { hidden, vocabulary, positions, firstPosition, segments, epsilon, root, bias } = variant;
  const [tokens, places, kinds] = ['word', 'position', 'token_type'].map(
    (name) => `${root}embeddings.${name}_embeddings.weight`,
  ) as [string, string, string];
  const norm = `${root}embeddings.LayerNorm`;
  const blocks = Array.from({ length: variant.layers }, (_, index) => describeBlock(variant, index));
  const maxPositions = positions - firstPosition;
  const outputs = [variant.pooler, variant.classifier, variant.tokenClassifier].filter(
    (output) => output !== undefined,
  );
  return {
    architecture: variant.architecture,
    hiddenSize: hidden,
    vocabularySize: vocabulary,
    maxPositions,
    blocks,
    embeddingTensors: [tokens, places, ...(segments > 0 ? [kinds] : []), `${norm}.weight`, `${norm}.bias`],
    tokenTable: tokens,
    headTensors: [],
    ties: new Map(),
    ...(variant.pooler ? { pooler: variant.pooler } : {}),
    ...(variant.classifier ? { classifier: variant.classifier } : {}),
    ...(variant.tokenClassifier ? { tokenClassifier: variant.tokenClassifier } : {}),
    expected: new Map([
      [tokens, [vocabulary, hidden]],
      [places, [positions, hidden]],
      ...(segments > 0 ? [[kinds, [segments, hidden]] as const] : []),
      ...normTensors([norm], hidden, true),
      ...(bias ? [[bias.tensor, bias.shape] as const] : []),
      ...blocks.flatMap(({ prefix, linears }) => [
        ...normTensors([`${prefix}.${variant.names.attentionNorm}`], hidden, true),
        ...normTensors([`${prefix}.${variant.names.outputNorm}`], hidden, true),
        ...linears.flatMap(linearTensors),
      ]),
      ...outputs.flatMap(({ shapes }) => shapes),
    ]),
    embed(runtime, ids, batch, length) {
      const { ops, start = 0 } = runtime;
      if (start + length > maxPositions)
        throw new ShapeError(`${start + length} tokens are more than the model's ${maxPositions} positions`);
      const positional = ops.rows(runtime.weight(places), firstPosition + start, length);
      const sum = ops.add(ops.embed(runtime.weight(tokens), ids, batch, length), positional);
      const segment = segments > 0 ? ops.reshape(ops.rows(runtime.weight(kinds), 0, 1), [hidden]) : undefined;
      return layerNorm(runtime, norm, segment === undefined ? sum : ops.add(sum, segment), epsilon);
    },
    finalNorm: (_runtime, x) => x,
  };
}

function describeBlock(variant: EncoderVariant, index: number): BlockDescription {
  const { hidden, intermediate, heads, epsilon, activation, bias, names } = variant;
  const prefix = variant.blockPrefix(index);
  const of = (name: keyof EncoderBlockNames) => `${prefix}.${names[name]}`;
  const [q, k, v, o, up, down] = [of('query'), of('key'), of('value'), of('output'), of('up'), of('down')];
  const [attentionNorm, outputNorm] = [of('attentionNorm'), of('outputNorm')];
  const linears: LinearDescription[] = [
    linear(q, hidden, hidden, true, 'query'),
    linear(k, hidden, hidden, true, 'key'),
    linear(v, hidden, hidden, true, 'value'),
    linear(o, hidden, hidden, true, 'output'),
    linear(up, hidden, intermediate, true, 'up'),
    linear(down, intermediate, hidden, true, 'down'),
  ];
  const site = (kind: CacheSite['kind']): CacheSite => ({ block: index, kind, stage: 'afterRope' });
  return {
    index,
    prefix,
    linears,
    tensors: [
      ...[attentionNorm, outputNorm].flatMap((module) => [`${module}.weight`, `${module}.bias`]),
      ...(bias ? [bias.tensor] : []),
      ...linears.flatMap((each) => linearTensors(each).map(([name]) => name)),
    ],
    // Norms come after the sums and also feed the residual, so their channels cannot be scaled for the linears alone.
    edges: [
      { id: 'value->output', producer: { kind: 'linear', module: v }, consumers: [o] },
      ...(activation === 'relu'
        ? [
            {
              id: 'up->down',
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
    begin: (_runtime, x) => ({ residual: x, input: x }),
    stages: [
      {
        name: 'attention',
        linears: [q, k, v],
        run(runtime, { residual, input }) {
          const [, length] = runtime.ops.shape(input) as [number, number];
          const mixed = runtime.ops.attention({
            q: runtime.query(index, runtime.linear(q, input)),
            k: runtime.cache(site('key'), runtime.linear(k, input)),
            v: runtime.cache(site('value'), runtime.linear(v, input)),
            heads,
            kvHeads: heads,
            headDim: hidden / heads,
            scale: 1 / Math.sqrt(hidden / heads),
            causal: false,
            ...(bias ? { bias: bias.scores(runtime, length) } : {}),
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
          const normed = layerNorm(runtime, attentionNorm, sum, epsilon);
          return { residual: normed, input: normed };
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
          const sum = runtime.ops.add(residual, runtime.linear(down, input));
          const normed = layerNorm(runtime, outputNorm, sum, epsilon);
          return { residual: normed, input: normed };
        },
      },
    ],
  };
}
