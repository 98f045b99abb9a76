import type {
  Activation,
  BlockDescription,
  LinearDescription,
  ModelDescription,
  NormDescription,
  ResidualStream,
  Runtime,
  ScalableEdge,
  StageState,
} from '@q/core';
import type { ConfigReader } from '../config-reader.js';
import { findRoot } from '../model-root.js';
import { type RotaryPositions, readRotaryPositions } from '../rotary-positions.js';
import { type AttentionOptions, describeAttention } from './attention.js';
import { type DescribedBlock, describeBlocks } from './described-block.js';
import { type AddToResidual, addition, type FeedForward, gatedMlp, type MlpOptions } from './feed-forward.js';
import { linear, linearTensors } from './linear-description.js';
import { applyNorm, type Norm, normProducer, tensorsOfNorm } from './norm.js';
import { describeResidualStream } from './residual-stream.js';
import { classifiesSequences, labelCount, sequenceOutput } from './sequence-output.js';

/** Norms of a block by their names in the file: before a part reads the residual stream, and after it has computed. */
export interface NormPlaces {
  readonly attention: { readonly before?: string; readonly after?: string };
  /** `before` may be the attention's own norm, if both read the stream in parallel. */
  readonly feedForward: { readonly before?: string; readonly after?: string };
}

/** Names of modules. */
interface DecoderNames {
  /** Possible prefixes in a checkpoint, the usual one first; see {@link findRoot}. */
  readonly roots?: readonly string[];
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
  readonly attention: string;
  readonly mlp: string;
  readonly norms: NormPlaces;
  /** One linear each for queries, keys and values, or a fused one. */
  readonly input: readonly [query: string, key: string, value: string] | readonly [fused: string];
  /** The fused one has query, key and value of each head next to each other. */
  readonly inputByHead?: boolean;
  readonly output: string;
}

/** The differences between the descendants of Llama. */
export interface LlamaVariant {
  readonly architecture: string;
  /** Names in the checkpoint, if known. */
  readonly tensorNames?: ReadonlySet<string> | undefined;
  /** Those that differ from Llama's. */
  readonly names?: Partial<DecoderNames>;
  readonly queryKeyValueBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Key heads, if the config does not say. */
  readonly defaultKeyValueHeads?: number;
  /** Size of a head, if the config does not say; the hidden size over the heads when absent. */
  readonly defaultHeadDim?: number;
  /** Base of the rotary frequencies, if the config does not say; 10000 when absent. */
  readonly defaultTheta?: number;
  /** Epsilon of the norms, if the config does not say; 1e-6 when absent. */
  readonly defaultEpsilon?: number;
  readonly defaultTied?: boolean;
  /** True for an encoder: its output is its last hidden states. */
  readonly headless?: true;
  /** The config's key for the activation, and the value when the config has none. */
  readonly activation?: readonly [key: string, absent: string];
  /** Layer norms, with biases; RMS norms when absent. */
  readonly norm?: 'layer';
  /** The gain of norms is 1 + weight. */
  readonly gainOffset?: 1;
  /** Norms `q_norm` and `k_norm` of queries and keys: of each head, or of all heads together. */
  readonly queryKeyNorm?: 'head' | 'whole';
  /** Attention and MLP read the residual stream in parallel, and both are added to it. */
  readonly parallel?: boolean;
  /** Rotary positions of a layer, or undefined in a layer without; those of the config for all layers when absent. */
  rotary?(layer: number, headDim: number): RotaryPositions | undefined;
  /** Multiplies the outputs that are added to the stream. */
  readonly residualFactor?: number;
  readonly embeddingFactor?: number;
  readonly logitFactor?: number;
  /** Limit of the logits: `cap * tanh(logit / cap)`. */
  readonly logitCap?: number | undefined;
  /** Differences of the attention, in every layer. */
  readonly attention?: Partial<Pick<AttentionOptions, 'scale' | 'softCap' | 'causal' | 'queryFactors'>>;
  /** Name of the sinks' tensor below the attention's module. */
  readonly sinks?: string;
  /** Sliding window of a layer in tokens; unlimited when absent. */
  window(layer: number): number | undefined;
  /** The part after the attention of a layer; a gated MLP of `intermediate_size` when absent. */
  feedForward?(layer: number, sizes: FeedForwardSizes): FeedForward | undefined;
}

/** The data for a feed-forward part. */
interface FeedForwardSizes extends Omit<MlpOptions, 'intermediate'> {
  /** `model.layers.0.mlp` */
  readonly prefix: string;
}

const llamaNames: DecoderNames = {
  embedding: 'embed_tokens',
  finalNorm: 'norm',
  head: 'lm_head',
  attention: 'self_attn',
  mlp: 'mlp',
  norms: { attention: { before: 'input_layernorm' }, feedForward: { before: 'post_attention_layernorm' } },
  input: ['q_proj', 'k_proj', 'v_proj'],
  output: 'o_proj',
};

interface Sizes {
  readonly variant: LlamaVariant;
  readonly names: DecoderNames;
  /** Prefix of all names except the head's. */
  readonly root: string;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly epsilon: number;
  readonly activation: Activation;
  rotary(layer: number): RotaryPositions | undefined;
}

/** Pre-norm blocks with rotary positions, grouped-query attention and a gated MLP, changed by the variant. */
export function describeLlamaLike(config: ConfigReader, variant: LlamaVariant): ModelDescription {
  const sizes = readSizes(config, variant);
  const { hidden, root, names } = sizes;
  const layers = config.positiveInteger('num_hidden_layers');
  const vocabulary = config.positiveInteger('vocab_size');
  const tied = config.boolean('tie_word_embeddings', variant.defaultTied ?? false);
  const embedding = `${root}${names.embedding}.weight`;
  const head = readHead(config, sizes, vocabulary, tied);
  const classifier = classifiesSequences(config)
    ? sequenceOutput([{ linear: 'score', bias: false, out: labelCount(config) }], hidden, 'last')
    : undefined;
  const described = describeBlocks(layers, variant.feedForward === undefined, (index) =>
    describeBlock(config, sizes, index),
  );
  const { blocks } = described;
  const last = normOf(sizes, `${root}${names.finalNorm}`);
  const finalNorm = <T>(runtime: Runtime<T>, x: T): T => applyNorm(runtime, last, x);
  const { embeddingFactor, logitFactor, logitCap } = variant;
  const expected = described.tensorsBetween(
    [[embedding, [vocabulary, hidden]]],
    [...tensorsOfNorm(last), ...(head && !tied ? linearTensors(head) : []), ...(classifier?.shapes ?? [])],
  );
  const model: ModelDescription = {
    architecture: variant.architecture,
    hiddenSize: hidden,
    vocabularySize: vocabulary,
    maxPositions: config.positiveInteger('max_position_embeddings', 2048),
    blocks,
    embeddingTensors: [embedding],
    tokenTable: embedding,
    headTensors: [
      ...tensorsOfNorm(last).map(([name]) => name),
      ...(head ? [tied ? embedding : `${head.module}.weight`] : []),
    ],
    ...(head ? { head } : {}),
    ...(classifier ? { classifier } : {}),
    ...(head || classifier || variant.headless ? {} : { absentHead: names.head }),
    ties: new Map(head && tied ? [[`${head.module}.weight`, embedding]] : []),
    ...(root === '' ? { headless: true } : {}),
    expected,
    embed(runtime, ids, batch, length) {
      const rows = runtime.ops.embed(runtime.weight(embedding), ids, batch, length);
      return embeddingFactor === undefined ? rows : runtime.ops.scale(rows, embeddingFactor);
    },
    finalNorm,
    ...(head
      ? {
          logits<T>(runtime: Runtime<T>, x: T): T {
            const { ops } = runtime;
            const logits = runtime.linear(head.module, finalNorm(runtime, x));
            const scaled = logitFactor === undefined ? logits : ops.scale(logits, logitFactor);
            return logitCap === undefined
              ? scaled
              : ops.scale(ops.activation('tanh', ops.scale(scaled, 1 / logitCap)), logitCap);
          },
        }
      : {}),
  };
  // Without a head the model's output is its last hidden states, so nothing undoes a rotation.
  if (!head) return model;
  return withResidualStream(model, () =>
    describeResidualStream(blocks, {
      embeddings: [embedding],
      kind: last.kind,
      finalNorm: last.module,
      head: head.module,
      ...(variant.gainOffset ? { gainOffset: variant.gainOffset } : {}),
      others: described.norms(),
      readers: described.readers(),
    }),
  );
}

/** The stream is described on request, since only rewrites need it and it names every linear of the model. */
function withResidualStream(model: ModelDescription, describe: () => ResidualStream): ModelDescription {
  let described: ResidualStream | undefined;
  return Object.defineProperty(model, 'residualStream', {
    enumerable: true,
    get() {
      described ??= describe();
      return described;
    },
  });
}

/** The output projection; undefined in a classifier, and in a checkpoint of the model without it. */
function readHead(
  config: ConfigReader,
  { variant, names, root, hidden }: Sizes,
  vocabulary: number,
  tied: boolean,
): LinearDescription | undefined {
  if (variant.headless || classifiesSequences(config)) return undefined;
  // In old files the head of a larger model is next to the language model, not inside it.
  const module = root === 'language_model.model.' ? `language_model.${names.head}` : names.head;
  const { tensorNames } = variant;
  const stored = !tensorNames || tied || root !== '' || someBelow(tensorNames, module);
  return stored ? linear(module, hidden, vocabulary, false, 'head') : undefined;
}

function someBelow(names: ReadonlySet<string>, module: string): boolean {
  for (const name of names) if (name.startsWith(`${module}.`)) return true;
  return false;
}

function readSizes(config: ConfigReader, variant: LlamaVariant): Sizes {
  const names = { ...llamaNames, ...variant.names };
  const hidden = config.positiveInteger('hidden_size');
  const heads = config.positiveInteger('num_attention_heads');
  const kvHeads = names.inputByHead
    ? heads
    : config.positiveInteger('num_key_value_heads', variant.defaultKeyValueHeads ?? heads);
  if (heads % kvHeads !== 0) config.refuse('num_key_value_heads', `it must divide the ${heads} attention heads`);
  const headDim = config.has('head_dim')
    ? config.positiveInteger('head_dim')
    : (variant.defaultHeadDim ?? hidden / heads);
  const theta = variant.defaultTheta;
  const shared = variant.rotary
    ? undefined
    : readRotaryPositions(config, headDim, theta === undefined ? {} : { theta });
  return {
    variant,
    names,
    root: findRoot(variant.tensorNames, `${names.finalNorm}.weight`, names.roots),
    hidden,
    heads,
    kvHeads,
    headDim,
    epsilon: config.number(
      variant.norm === 'layer' ? 'layer_norm_eps' : 'rms_norm_eps',
      variant.defaultEpsilon ?? 1e-6,
    ),
    activation: config.activation(...(variant.activation ?? (['hidden_act', 'silu'] as const))),
    rotary: (layer) => (variant.rotary ? variant.rotary(layer, headDim) : shared),
  };
}

function normOf({ variant, hidden, epsilon }: Sizes, module: string, width = hidden): Norm {
  const { norm = 'rms', gainOffset } = variant;
  return { module, kind: norm, width, epsilon, ...(gainOffset ? { gainOffset } : {}) };
}

function describeBlock(config: ConfigReader, sizes: Sizes, index: number): DescribedBlock {
  const { variant, names, root } = sizes;
  const prefix = `${root}layers.${index}`;
  const placed = (name: string | undefined) => (name === undefined ? undefined : normOf(sizes, `${prefix}.${name}`));
  const places = names.norms;
  const before = { attention: placed(places.attention.before), mlp: placed(places.feedForward.before) };
  const after = { attention: placed(places.attention.after), mlp: placed(places.feedForward.after) };
  const adding = (norm: Norm | undefined) => addToResidual(norm, variant.residualFactor);
  const attention = describeAttention(attentionOptions(sizes, index, prefix));
  const mlp: FeedForwardSizes = {
    prefix: `${prefix}.${names.mlp}`,
    hidden: sizes.hidden,
    activation: sizes.activation,
    bias: variant.mlpBias,
    add: adding(after.mlp),
  };
  const feedForward =
    variant.feedForward?.(index, mlp) ??
    gatedMlp(mlp.prefix, { ...mlp, intermediate: config.positiveInteger('intermediate_size') });
  const linears = [...attention.linears, ...feedForward.linears];
  // One norm that both parts read is listed once.
  const norms = new Map(
    [before.attention, before.mlp, after.attention, after.mlp].flatMap((norm) => (norm ? [[norm.module, norm]] : [])),
  );
  const tensors = [
    ...[...norms.values()].flatMap(tensorsOfNorm),
    ...attention.kept,
    ...feedForward.kept,
    ...linears.flatMap(linearTensors),
  ];
  const read = <T>(runtime: Runtime<T>, norm: Norm | undefined, x: T): T => (norm ? applyNorm(runtime, norm, x) : x);
  const attentionSum = addition(adding(after.attention));
  const block: BlockDescription = {
    index,
    prefix,
    linears,
    tensors: tensors.map(([name]) => name),
    edges: [
      ...normEdges(before.attention, before.mlp, attention.readers, feedForward),
      ...attention.edges,
      ...feedForward.edges,
    ],
    fusionGroups: [...attention.fusionGroups, ...feedForward.fusionGroups],
    ...(feedForward.experts ? { experts: feedForward.experts } : {}),
    attention: attention.description,
    mlpOutputs: feedForward.outputs,
    begin: (runtime, x) => ({ residual: x, input: read(runtime, before.attention, x) }),
    stages: [
      {
        name: 'attention',
        linears: attention.readers,
        run: (runtime, { residual, input }) => ({ residual, input: attention.mix(runtime, input) }),
      },
      {
        name: 'attention output',
        linears: [attention.output],
        ...attentionSum.flags,
        run<T>(runtime: Runtime<T>, { residual, input }: StageState<T>): StageState<T> {
          const sum = attentionSum.add(runtime, residual, runtime.linear(attention.output, input));
          const normed = read(runtime, before.mlp, variant.parallel ? residual : sum);
          return { residual: sum, input: normed, ...feedForward.route?.(runtime, normed) };
        },
      },
      ...feedForward.stages,
    ],
  };
  return {
    block,
    tensors,
    norms: [after.attention, after.mlp].flatMap((norm) => (norm ? [betweenLinearAndSum(norm)] : [])),
    readers: [...(before.attention ? [] : attention.readers), ...(before.mlp ? [] : feedForward.readers)],
  };
}

function attentionOptions(sizes: Sizes, layer: number, prefix: string): AttentionOptions {
  const { variant, names, hidden, heads, kvHeads, headDim } = sizes;
  const within = (name: string) => `${prefix}.${names.attention}.${name}`;
  const [first, key, value] = names.input.map(within);
  const rotary = sizes.rotary(layer);
  const normed = (name: string, count: number) =>
    normOf(sizes, within(name), variant.queryKeyNorm === 'head' ? headDim : count * headDim);
  return {
    block: layer,
    hidden,
    heads,
    kvHeads,
    headDim,
    input:
      key !== undefined && value !== undefined
        ? { query: first!, key, value }
        : { fused: first!, ...(names.inputByHead ? { byHead: true } : {}) },
    output: within(names.output),
    inputBias: variant.queryKeyValueBias,
    outputBias: variant.outputBias,
    window: variant.window(layer),
    ...(rotary ? { rotary } : {}),
    ...(variant.queryKeyNorm ? { norms: { query: normed('q_norm', heads), key: normed('k_norm', kvHeads) } } : {}),
    ...(variant.sinks === undefined ? {} : { sinks: within(variant.sinks) }),
    ...variant.attention,
  };
}

/** Edges of the norms before the two parts; one edge if they are one norm. */
function normEdges(
  attention: Norm | undefined,
  mlp: Norm | undefined,
  readers: readonly string[],
  feedForward: FeedForward,
): readonly ScalableEdge[] {
  const edge = (norm: Norm, what: string, consumers: readonly string[]): ScalableEdge => ({
    id: `${norm.module.split('.').at(-1)}->${what}`,
    producer: normProducer(norm),
    consumers,
  });
  const inputs = readers.length === 1 ? 'qkv' : 'q,k,v';
  const inner = feedForward.experts ? 'experts' : feedForward.readers.length === 1 ? 'up' : 'gate,up';
  if (attention && attention.module === mlp?.module)
    return [edge(attention, `${inputs},${inner}`, [...readers, ...feedForward.readers])];
  return [
    ...(attention ? [edge(attention, inputs, readers)] : []),
    ...(mlp ? [edge(mlp, inner, feedForward.readers)] : []),
  ];
}

const betweenLinearAndSum = ({ module, kind, gainOffset }: Norm): NormDescription => ({
  module,
  kind,
  consumers: [],
  addsToStream: true,
  ...(gainOffset ? { gainOffset } : {}),
});

/** Undefined if an output is added as it is. */
function addToResidual(norm: Norm | undefined, factor: number | undefined): AddToResidual | undefined {
  if (!norm && (factor === undefined || factor === 1)) return undefined;
  return (runtime, residual, output) => {
    const normed = norm ? applyNorm(runtime, norm, output) : output;
    return runtime.ops.add(residual, factor === undefined ? normed : runtime.ops.scale(normed, factor));
  };
}
