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
  /** The pooling of an encoder's sentence embedding; absent if the model does not say. */
  readonly pooling?: Pooling;
  /** Linear layers after the pooling, in order. */
  readonly dense?: readonly DenseLayer[];
  /** Rows `begin` to `end` of a tensor; all dimensions except the last count as rows. */
  rows(name: string, begin: number, end: number): Promise<BlockSource>;
}

/** A layer that a sentence embedding passes after the pooling. */
interface DenseLayer {
  /** f32 `[out, in]`. */
  readonly weight: Tensor<'f32'>;
  /** True when it is more than a product: it has a bias, or an activation. */
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

/** Every `step`-th row of each tensor, from row `first` on. The other rows are in another tensor of the file. */
export interface StridedRows {
  readonly step: number;
  readonly first: number;
}

/** A tensor of the file, and its sources. */
export interface ModelTensor {
  /** In the file: `blk.0.attn_q.weight`. */
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Tensors of the source whose rows follow each other. */
  readonly from: readonly string[];
  /** Index in `from` of each row; the same order when absent. */
  readonly order?: Int32Array;
  /** The rows are not all rows of `from`: see {@link StridedRows}. Never together with `order`. */
  readonly strided?: StridedRows;
  /** Added to every value. */
  readonly plus?: number;
  /** The values themselves, if no tensor of the source has them. */
  readonly values?: Float32Array;
}

/** Turns models of a family into a file that llama.cpp loads. */
export interface GgufArchitecture {
  /** `general.architecture` */
  readonly name: string;
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /** Whether it supports a model of these types; all of them when absent. */
  accepts?(config: ModelConfig): boolean;
  /** The number of layers after the pooling that the runtime supports; none when absent. */
  readonly denseLayers?: number;
  /**
   * Modules of an encoder's heads, by the start of their names. llama.cpp runs these models for their embeddings, so
   * `tensors` leaves the heads out, and a note names them.
   */
  readonly heads?: RegExp;
  /** Keys are written as `<name>.<key>`. */
  hyperparameters(config: ModelConfig, source: ConversionSource): ReadonlyMap<string, GgufValue>;
  tensors(config: ModelConfig, source: Pick<ConversionSource, 'name' | 'shapes' | 'dense'>): readonly ModelTensor[];
  /**
   * The `config.json` of a file's model, from the keys that `hyperparameters` wrote. Absent if another family of this
   * name has it.
   */
  config?(file: FileSettings): Readonly<Record<string, unknown>>;
  /** Settings of the tokenizer that the family needs and its files do not contain. */
  readonly tokenizer?: TokenizerDefaults;
}

export interface TokenizerDefaults {
  /** A space before the first word (SentencePiece). */
  readonly addSpacePrefix?: boolean;
  /** Encoders: the number of token types, which readers need. */
  tokenTypes?(config: ModelConfig): number;
}

/** A model as it will be in a file, before its tensors get their types. */
export interface ConvertedModel {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly ModelTensor[];
  /** Sentences about everything in the source that the file does not have. */
  readonly notes: readonly string[];
}
