import type { BlockSource, Tensor } from '@q/core';
import type { GgufMetadata, GgufValue } from '../metadata.js';
import type { ModelConfig } from './config.js';
import type { FileSettings } from './file-settings.js';

/** A model in the layout of Hugging Face, opened for conversion. */
export interface ConversionSource {
  /** Of the folder, for messages and `general.name`. */
  readonly name: string;
  /** `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Shapes of all tensors by their names in the checkpoint; linears are `[out, in]`. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly tokenizer: TokenizerFiles;
  /** How an encoder's sentence embedding is pooled; absent where the model does not say. */
  readonly pooling?: Pooling;
  /** Linear layers behind the pooling, in their order. */
  readonly dense?: readonly DenseLayer[];
  /** Rows `begin` to `end` of a tensor, all but its last dimension counted as rows. */
  rows(name: string, begin: number, end: number): Promise<BlockSource>;
}

/** A layer that a sentence embedding goes through when it has been pooled. */
interface DenseLayer {
  /** f32 `[out, in]`. */
  readonly weight: Tensor<'f32'>;
  /** It is more than a product: it has a bias, or an activation. */
  readonly more: boolean;
}

export type Pooling = 'none' | 'mean' | 'cls' | 'last';

/** Parsed files that describe a tokenizer. Absent ones are undefined. */
export interface TokenizerFiles {
  /** `tokenizer.json` */
  readonly tokenizer?: Readonly<Record<string, unknown>>;
  /** `tokenizer_config.json` */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The content of `chat_template.jinja`. */
  readonly chatTemplate?: string;
}

/** Every `step`-th row of each tensor, from row `first` on: the others are another tensor of the file. */
export interface StridedRows {
  readonly step: number;
  readonly first: number;
}

/** A tensor of the file, and what it is made of. */
export interface ModelTensor {
  /** In the file: `blk.0.attn_q.weight`. */
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Tensors of the source whose rows follow each other. */
  readonly from: readonly string[];
  /** The row of `from` that each row is; the same order when absent. */
  readonly order?: Int32Array;
  /** The rows are not all rows of `from`: see {@link StridedRows}. Never beside `order`. */
  readonly strided?: StridedRows;
  /** Added to every value. */
  readonly plus?: number;
  /** The values themselves, where no tensor of the source has them. */
  readonly values?: Float32Array;
}

/** How models of a family become a file that llama.cpp loads. */
export interface GgufArchitecture {
  /** `general.architecture` */
  readonly name: string;
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /** Which models of these types are meant; all of them when absent. */
  accepts?(config: ModelConfig): boolean;
  /** How many layers behind the pooling the runtime has; none when absent. */
  readonly denseLayers?: number;
  /** Keys are written as `<name>.<key>`. */
  hyperparameters(config: ModelConfig, source: ConversionSource): ReadonlyMap<string, GgufValue>;
  tensors(config: ModelConfig, source: Pick<ConversionSource, 'name' | 'shapes' | 'dense'>): readonly ModelTensor[];
  /** The `config.json` of a file's model: what `hyperparameters` wrote, read back. Absent where another family of this name has it. */
  config?(file: FileSettings): Readonly<Record<string, unknown>>;
  /** Settings of the tokenizer that the family needs and its files do not say. */
  readonly tokenizer?: TokenizerDefaults;
}

export interface TokenizerDefaults {
  /** A space before the first word (SentencePiece). */
  readonly addSpacePrefix?: boolean;
  /** Encoders: the count of token types, which readers ask for. */
  tokenTypes?(config: ModelConfig): number;
}

/** A model as a file will hold it, before its tensors get their types. */
export interface ConvertedModel {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly ModelTensor[];
}
