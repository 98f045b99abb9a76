import { SchemeError } from './errors.js';
import type { Runtime } from './runtime.js';
import type { RowSelection, ScalableEdge } from './transform.js';

/** What a matrix does in its model. */
export type LinearRole =
  | 'query'
  | 'key'
  | 'value'
  | 'output'
  | 'gate'
  | 'up'
  | 'down'
  | 'router'
  | 'embedding'
  | 'position'
  | 'head';

/** One linear of a model. Module names are checkpoint names without `.weight`. */
export interface LinearDescription {
  readonly module: string;
  /** What it does; a fused one does several things (`query`, `key` and `value`). Absent where nothing is known of it. */
  readonly roles?: readonly LinearRole[];
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** True when the file keeps `[in, out]` (GPT-2's Conv1D). In memory every weight is `[out, in]`. */
  readonly transposed: boolean;
  readonly bias: boolean;
  /** Readers of the model's own files take it as a slice of a tensor that holds it for all experts of the layer. */
  readonly stacked?: true;
}

/** A norm that reads the residual stream, and what reads its output. */
export interface NormDescription {
  readonly module: string;
  /** `rms`: `x / rms(x) * gain`. `layer`: `(x - mean(x)) / deviation(x) * gain + bias`. */
  readonly kind: 'rms' | 'layer';
  /** What is added to the weight to get the gain: 1 in Gemma; the weight is the gain when absent. */
  readonly gainOffset?: 1;
  /** Modules whose weight `[out, in]` reads the output: linears, routers, the head. Nothing else in its block does. */
  readonly consumers: readonly string[];
  /** The norm stands after the sum (post-norm): its output is the residual stream itself. */
  readonly writesStream?: true;
  /** The norm stands between a linear and the sum: its output is added to the residual stream. */
  readonly addsToStream?: true;
}

/** Everything that writes the residual stream `[batch, length, hiddenSize]`, and everything that reads it. */
export interface ResidualStream {
  /** Tensors `[rows, hiddenSize]` whose rows are summed at the start: tokens, positions. */
  readonly embeddings: readonly string[];
  readonly norms: readonly NormDescription[];
  /** Modules that read the stream without a norm (a head without a final norm). */
  readonly readers: readonly string[];
  /** Linears whose output is added to the stream. */
  readonly writers: readonly string[];
}

/** Heads of a block's attention. Query head h reads key and value head `floor(h * kvHeads / heads)`. */
export interface AttentionDescription {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** The linear that gives the values `[kvHeads*headDim]`, and which of its rows do. */
  readonly value: { readonly module: string } & RowSelection;
  /** The linear that reads the mixed values `[heads*headDim]`. */
  readonly output: string;
  /** Norms of queries and keys, of each head or of all heads at once. */
  readonly norms?: readonly string[];
}

/**
 * Values that flow from stage to stage. `residual` and `input` always exist; shapes `[batch, length, features]`.
 * A part that holds only some tokens (`expert.3`) is `[rows, features]`, and `expert.3.tokens` `[rows, 1]` says which
 * tokens of the batch its rows are. It is absent when there are none.
 */
export type StageState<T> = { residual: T; input: T } & Record<string, T>;

/**
 * The linears that share one input (experts: that read at the same time), and the code from that input to the next stage's input. Running a block is
 * `begin`, then each stage's `run`; between stages the state may leave the engine, so a calibrated run computes each
 * stage once, after its weights are final, and never runs a block again from its start (true-sequential at no cost).
 */
export interface Stage {
  readonly name: string;
  /** Linears that read `state.input` (or their part in `inputs`), in the order of the reference implementation. */
  readonly linears: readonly string[];
  /** Linears that read another part of the state, by module: experts see only the tokens that were sent to them. */
  readonly inputs?: ReadonlyMap<string, string>;
  /** True when what the linears give is added to `state.residual` as it is: an error of the stream can be corrected here. */
  readonly addsToResidual?: boolean;
  /** True when it is added to `state.residual` behind a norm, or times a constant. */
  readonly addsChanged?: boolean;
  run<T>(runtime: Runtime<T>, state: StageState<T>): StageState<T>;
}

/** One expert of a mixture: linears that see only the tokens which the router sends to them. */
export interface ExpertDescription {
  /** `model.layers.0.block_sparse_moe.experts.3` */
  readonly name: string;
  readonly linears: readonly string[];
}

/** One block (transformer layer). Its output is `state.residual` after the last stage. */
export interface BlockDescription {
  readonly index: number;
  /** `model.layers.0` */
  readonly prefix: string;
  readonly linears: readonly LinearDescription[];
  /** Every tensor that the block reads, by checkpoint name. */
  readonly tensors: readonly string[];
  readonly stages: readonly Stage[];
  /** Edges that AWQ and SmoothQuant may scale. */
  readonly edges: readonly ScalableEdge[];
  /** Linears that runtimes fuse (q,k,v; gate,up): they must keep one scheme. */
  readonly fusionGroups: readonly (readonly string[])[];
  /** Absent where a block's attention is of another kind. */
  readonly attention?: AttentionDescription;
  /** Linears that read the inner values of the MLP (down projections). */
  readonly mlpOutputs?: readonly string[];
  /** Absent in blocks without a router. */
  readonly experts?: readonly ExpertDescription[];
  begin<T>(runtime: Runtime<T>, hidden: T): StageState<T>;
}

/** One vector of a whole sequence, from its last hidden states: a pooler, or the scores of a classifier. */
export interface SequenceOutput {
  /** Every tensor that it reads, by checkpoint name. */
  readonly tensors: readonly string[];
  /** Its matrices, which have the role of a head. */
  readonly linears: readonly LinearDescription[];
  readonly size: number;
  /** Last hidden states `[batch, length, hiddenSize]` (final norm included) -> `[batch, size]`. */
  run<T>(runtime: Runtime<T>, hidden: T): T;
}

/** A model: what its tensors are, and how they are used. Made from a config by an {@link Architecture}. */
export interface ModelDescription {
  readonly architecture: string;
  readonly hiddenSize: number;
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly blocks: readonly BlockDescription[];
  /** Tensors read before the first block and after the last one. */
  readonly embeddingTensors: readonly string[];
  readonly headTensors: readonly string[];
  /** The output projection's module. Absent in a model that computes no logits of tokens (an encoder). */
  readonly head?: LinearDescription;
  /** What an encoder with a pooler or a classifier makes of a sequence. */
  readonly pooler?: SequenceOutput;
  readonly classifier?: SequenceOutput;
  /** Tensors that are absent from the file and equal another one: `lm_head.weight` -> `model.embed_tokens.weight`. */
  readonly ties: ReadonlyMap<string, string>;
  /** Absent where the architecture does not declare it: such a model cannot be rotated. */
  readonly residualStream?: ResidualStream;
  /**
   * The checkpoint was published without the head (its names lack the whole model's prefix): readers of such a file look
   * for no `lm_head.weight` in it, so that a tied head cannot get weights of its own.
   */
  readonly headless?: true;
  /** All expected tensors with their shapes in the file, for the check on opening. Optional ones are not listed. */
  readonly expected: ReadonlyMap<string, readonly number[]>;
  /** Ids `[batch, length]`, row-major -> hidden `[batch, length, hiddenSize]`. */
  embed<T>(runtime: Runtime<T>, ids: Int32Array, batch: number, length: number): T;
  /** Final norm and output projection -> logits `[batch, length, vocabularySize]`. Absent where there is no head. */
  logits?<T>(runtime: Runtime<T>, hidden: T): T;
  /** Final norm alone; the hidden states themselves where the last block ends with a norm. */
  finalNorm<T>(runtime: Runtime<T>, hidden: T): T;
}

/** Linears of all blocks, the head where there is one, and those of a pooler or classifier. */
export function linearsOf({
  blocks,
  head,
  pooler,
  classifier,
}: Pick<ModelDescription, 'blocks' | 'head' | 'pooler' | 'classifier'>): readonly LinearDescription[] {
  const own = [...blocks.flatMap(({ linears }) => linears), ...(head ? [head] : [])];
  const outputs = [pooler, classifier].flatMap((output) => output?.linears ?? []);
  // A classifier reads what its model's pooler gives: the pooler's linears are in both.
  return [...own, ...new Map(outputs.map((linear) => [linear.module, linear])).values()];
}

/** A model that computes logits of tokens. */
export type LanguageModel = ModelDescription & Required<Pick<ModelDescription, 'head' | 'logits'>>;

/**
 * The model as one that computes logits.
 * @param purpose what needs them, for the message
 * @throws SchemeError when it is an encoder
 */
export function languageModel(model: ModelDescription, purpose: string): LanguageModel {
  if (model.head && model.logits) return model as LanguageModel;
  throw new SchemeError(
    `${purpose} needs the logits of a language model; ${model.architecture} is an encoder, which gives hidden states alone`,
  );
}

/** How files keep several tensors of a model in one: all experts of a layer in a tensor of three dimensions. */
export interface TensorStacks {
  /**
   * The model's tensors that a tensor of a file holds: one list for each slice of its first axis. Where a slice is several
   * tensors, each is an equal part of its rows. Nothing for tensors that hold themselves alone.
   * @throws FormatError naming the tensor when its shape is not that of a stack
   */
  split(name: string, shape: readonly number[]): readonly (readonly string[])[] | undefined;
  /**
   * The stack that a tensor is a slice of in files that are written, and where in it. Absent where readers take each tensor
   * by itself.
   */
  join?(name: string): { readonly stack: string; readonly index: number } | undefined;
}

/** A family of models, declared once. */
export interface Architecture {
  readonly name: string;
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /**
   * @param tensorNames names in the checkpoint, where they are known: families that were published under two spellings
   * (`transformer.wte.weight`, `wte.weight`) choose by them. The newer one when absent.
   * @throws SchemeError naming the config key that is missing or not supported
   */
  describe(config: Readonly<Record<string, unknown>>, tensorNames?: ReadonlySet<string>): ModelDescription;
  /** Absent where files have a tensor for each of the model's. */
  stacks?(config: Readonly<Record<string, unknown>>): TensorStacks;
}
