import { SchemeError } from './errors.js';
import type { Runtime } from './runtime.js';
import type { RowSelection, ScalableEdge } from './transform.js';

/** Functions of a matrix in its model. */
export const linearRoles = [
  'query',
  'key',
  'value',
  'output',
  'gate',
  'up',
  'down',
  'router',
  'embedding',
  'position',
  'head',
] as const;

export type LinearRole = (typeof linearRoles)[number];

/** One linear of a model. Module names are checkpoint names without `.weight`. */
export interface LinearDescription {
  readonly module: string;
  /** Its roles; a fused linear has several (`query`, `key` and `value`). Absent if none is known. */
  readonly roles?: readonly LinearRole[];
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** True when the file keeps `[in, out]` (GPT-2's Conv1D). In memory every weight is `[out, in]`. */
  readonly transposed: boolean;
  readonly bias: boolean;
  /** True: in the model's own files this weight is a slice of one tensor with all experts of the layer. */
  readonly stacked?: true;
}

/** A norm that reads the residual stream, and the modules that read its output. */
export interface NormDescription {
  readonly module: string;
  /** `rms`: `x / rms(x) * gain`. `layer`: `(x - mean(x)) / deviation(x) * gain + bias`. */
  readonly kind: 'rms' | 'layer';
  /** Added to the weight to get the gain: 1 in Gemma. When absent the weight is the gain. */
  readonly gainOffset?: 1;
  /**
   * Modules whose weight `[out, in]` reads the output: linears, routers, the head. No other part of its block reads it.
   */
  readonly consumers: readonly string[];
  /** The norm comes after the sum (post-norm): its output is the residual stream itself. */
  readonly writesStream?: true;
  /** The norm is between a linear and the sum: its output is added to the residual stream. */
  readonly addsToStream?: true;
}

/** All parts that write the residual stream `[batch, length, hiddenSize]`, and all that read it. */
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
  /** The linear that gives the values `[kvHeads*headDim]`, and the rows of its weight that do. */
  readonly value: { readonly module: string } & RowSelection;
  /** The linear that reads the mixed values `[heads*headDim]`. */
  readonly output: string;
  /** Norms of queries and keys, of each head or of all heads together. */
  readonly norms?: readonly string[];
}

/**
 * Values that go from stage to stage. `residual` and `input` always exist; shapes `[batch, length, features]`. A part
 * with only some of the tokens (`expert.3`) is `[rows, features]`, and `expert.3.tokens` `[rows, 1]` has the index of
 * each row's token in the batch. The part is absent when it has no tokens.
 */
export type StageState<T> = { residual: T; input: T } & Record<string, T>;

/**
 * The linears that share one input (experts: that read at the same time), and the code from that input to the next
 * stage's input. To run a block, call `begin`, then each stage's `run`. Between stages the state may leave the engine.
 * So a calibrated run computes each stage once, after its weights are final (true-sequential), and never runs a block
 * again from its start.
 */
export interface Stage {
  readonly name: string;
  /** Linears that read `state.input` (or their part in `inputs`), in the order of the reference implementation. */
  readonly linears: readonly string[];
  /**
   * Linears that read another part of the state, by module: an expert sees only the tokens that the router sent to it.
   */
  readonly inputs?: ReadonlyMap<string, string>;
  /**
   * True when the linears' output is added to `state.residual` as it is, so an error of the stream can be corrected
   * here.
   */
  readonly addsToResidual?: boolean;
  /** True when the output is added to `state.residual` after a norm, or multiplied by a constant. */
  readonly addsChanged?: boolean;
  run<T>(runtime: Runtime<T>, state: StageState<T>): StageState<T>;
}

/** One expert of a mixture: linears that see only the tokens that the router sends to them. */
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
  /** Linears that runtimes fuse (q,k,v; gate,up): they must have one scheme. */
  readonly fusionGroups: readonly (readonly string[])[];
  /** Absent if a block's attention is of another kind. */
  readonly attention?: AttentionDescription;
  /** Linears that read the inner values of the MLP (down projections). */
  readonly mlpOutputs?: readonly string[];
  /** Absent in blocks without a router. */
  readonly experts?: readonly ExpertDescription[];
  begin<T>(runtime: Runtime<T>, hidden: T): StageState<T>;
}

/** Computes one vector for a whole sequence from its last hidden states: a pooler, or the scores of a classifier. */
export interface SequenceOutput {
  /** Every tensor that it reads, by checkpoint name. */
  readonly tensors: readonly string[];
  /** Its matrices, which have the role of a head. */
  readonly linears: readonly LinearDescription[];
  readonly size: number;
  /** Last hidden states `[batch, length, hiddenSize]` (final norm included) -> `[batch, size]`. */
  run<T>(runtime: Runtime<T>, hidden: T): T;
}

/** Computes the classes' scores of every token of a sequence from its last hidden states. */
export interface TokenOutput extends Omit<SequenceOutput, 'run'> {
  /** Last hidden states `[batch, length, hiddenSize]` (final norm included) -> `[batch, length, size]`. */
  run<T>(runtime: Runtime<T>, hidden: T): T;
}

/** A model: its tensors, and how they are used. An {@link Architecture} makes it from a config. */
export interface ModelDescription {
  readonly architecture: string;
  readonly hiddenSize: number;
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly blocks: readonly BlockDescription[];
  /** Tensors read before the first block and after the last one. */
  readonly embeddingTensors: readonly string[];
  /**
   * The one of them, `[vocabularySize, width]`, from which `embed` takes the rows of its ids and nothing else. So `embed`
   * computes the same from a table of some tokens' rows, with ids that count these rows. Absent: `embed` needs the whole
   * tables.
   */
  readonly tokenTable?: string;
  readonly headTensors: readonly string[];
  /** The output projection's module. Absent in a model without logits of tokens (an encoder). */
  readonly head?: LinearDescription;
  /** The pooler or classifier of an encoder. */
  readonly pooler?: SequenceOutput;
  readonly classifier?: SequenceOutput;
  /** The classifier of an encoder that gives every token a class. */
  readonly tokenClassifier?: TokenOutput;
  /** The module of the output projection that this checkpoint of a language model lacks: `lm_head`. */
  readonly absentHead?: string;
  /** Tensors that are absent from the file and equal another one: `lm_head.weight` -> `model.embed_tokens.weight`. */
  readonly ties: ReadonlyMap<string, string>;
  /** Absent if the architecture does not declare it: such a model cannot be rotated. */
  readonly residualStream?: ResidualStream;
  /**
   * True: the checkpoint was published without the head (its names lack the whole model's prefix). Readers of such a
   * file look for no `lm_head.weight` in it, so a tied head cannot get its own weights.
   */
  readonly headless?: true;
  /** All expected tensors with their shapes in the file, for the check on opening. Optional ones are not listed. */
  readonly expected: ReadonlyMap<string, readonly number[]>;
  /** Ids `[batch, length]`, row-major -> hidden `[batch, length, hiddenSize]`. */
  embed<T>(runtime: Runtime<T>, ids: Int32Array, batch: number, length: number): T;
  /** Final norm and output projection -> logits `[batch, length, vocabularySize]`. Absent if there is no head. */
  logits?<T>(runtime: Runtime<T>, hidden: T): T;
  /** The final norm alone; the hidden states themselves if the last block ends with a norm. */
  finalNorm<T>(runtime: Runtime<T>, hidden: T): T;
}

/** Linears of all blocks, of the head, and of a pooler or classifier. */
export function linearsOf(
  model: Pick<ModelDescription, 'blocks' | 'head' | 'pooler' | 'classifier' | 'tokenClassifier'>,
): readonly LinearDescription[] {
  const { blocks, head } = model;
  const own = [...blocks.flatMap(({ linears }) => linears), ...(head ? [head] : [])];
  return [...own, ...outputLinearsOf(model)];
}

/** Linears of a pooler or classifier alone. */
export function outputLinearsOf({
  pooler,
  classifier,
  tokenClassifier,
}: Pick<ModelDescription, 'pooler' | 'classifier' | 'tokenClassifier'>): readonly LinearDescription[] {
  const linears = [pooler, classifier, tokenClassifier].flatMap((output) => output?.linears ?? []);
  // A classifier reads the output of its model's pooler, so both list the pooler's linears.
  return [...new Map(linears.map((linear) => [linear.module, linear])).values()];
}

/** A model that computes logits of tokens. */
export type LanguageModel = ModelDescription & Required<Pick<ModelDescription, 'head' | 'logits'>>;

/**
 * The same model, with the type of a model that computes logits.
 * @param purpose the operation that needs logits, and its folder if known, for the message: `q generate FOLDER`
 * @throws SchemeError when the model has no output head
 */
export function languageModel(model: ModelDescription, purpose: string): LanguageModel {
  if (model.head && model.logits) return model as LanguageModel;
  throw new SchemeError(
    `${purpose} needs the logits of a language model; ${withoutHead(model)}. q embed and q eval --against ORIGINAL work with it`,
  );
}

/** Says what a model without an output head is, for messages. */
export function withoutHead({ architecture, classifier, tokenClassifier, absentHead }: ModelDescription): string {
  const classes = classifier ?? tokenClassifier;
  if (classes)
    return `this checkpoint of ${architecture} is a classifier: ${classes.linears.at(-1)?.module}.weight gives the scores of ${classes.size} classes, and there is no output head`;
  if (absentHead !== undefined)
    return `this checkpoint of ${architecture} has no output head (${absentHead}.weight): it gives hidden states alone`;
  return `${architecture} is an encoder, which gives hidden states alone`;
}

/** How files store several tensors of a model in one: all experts of a layer in a tensor of three dimensions. */
export interface TensorStacks {
  /**
   * The model's tensors in one tensor of a file: one list for each slice of its first axis. If a slice has several
   * tensors, each is an equal part of its rows; a single row, or number, is that of each. Undefined for a tensor that is not a stack.
   * @throws FormatError naming the tensor when its shape is not that of a stack
   */
  split(name: string, shape: readonly number[]): readonly (readonly string[])[] | undefined;
  /**
   * The stack that contains a tensor in written files, and its index there. Absent if readers take each tensor by
   * itself.
   */
  join?(name: string): { readonly stack: string; readonly index: number } | undefined;
}

/** A family of models. */
export interface Architecture {
  readonly name: string;
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /**
   * @param tensorNames names in the checkpoint, if known. Families that were published with two spellings
   *   (`transformer.wte.weight`, `wte.weight`) choose by them. The newer spelling when absent.
   * @throws SchemeError naming the config key that is missing or not supported
   */
  describe(config: Readonly<Record<string, unknown>>, tensorNames?: ReadonlySet<string>): ModelDescription;
  /** Absent if files have one tensor for each of the model's. */
  stacks?(config: Readonly<Record<string, unknown>>): TensorStacks;
}
