import type {
  ActivationScheme,
  AttentionDescription,
  CacheScales,
  LinearDescription,
  OptionRecord,
  OptionValues,
  QuantizedTensor,
  Scheme,
  SchemeVocabulary,
  StreamKernels,
  Tensor,
} from '@q/core';
import type { PlannedTensor } from '@q/safetensors';

/** A linear to be stored quantized. */
export interface QuantizedModule {
  readonly linear: LinearDescription;
  readonly scheme: Scheme;
  /**
   * The quantization of its inputs at run time; absent when only the weight is quantized. A static scale is known once
   * the module is encoded.
   */
  readonly activation?: ActivationScheme;
  /** Groups are not consecutive columns (act-order without static groups). */
  readonly reordered?: boolean;
  /** The weight has its own table of levels, one for all rows or one for each row. */
  readonly codebook?: 'tensor' | 'row';
}

/** Settings of a run that a layout's config may record. */
export interface LayoutRecord {
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Module of the model's output projection. Absent in models without one. */
  readonly head?: string;
  /** The scheme of a cache whose static scales are in the folder; only where the layout has {@link CacheScaleLayout}. */
  readonly cache?: Scheme;
}

/** How a layout stores static scales of a cache of keys and values: one for each side of each attention. */
export interface CacheScaleLayout {
  /**
   * The module of an attention, with which the names of its scales begin. Undefined when readers of this layout look
   * for none in such an attention.
   */
  module(attention: AttentionDescription): string | undefined;
  /** Tensors of an attention's scales. */
  plan(module: string, scheme: Scheme): readonly PlannedTensor[];
  /** Their content. Names as in `plan`. */
  encode(module: string, scheme: Scheme, scales: CacheScales): ReadonlyMap<string, Tensor>;
  /** What readers do with a folder of this scheme; it becomes a note in the plan. */
  note(scheme: Scheme): string;
}

/** Reads static scales of a cache of one folder. */
export interface CacheScaleReader {
  readonly scheme: Scheme;
  /** Tensors that belong to an attention's scales; a file may lack some. */
  tensors(attention: AttentionDescription): readonly string[];
  /** @throws FormatError naming the tensor that is absent or not a scale */
  read(attention: AttentionDescription, tensors: TensorLookup): Promise<CacheScales>;
}

/** Reads tensors of a folder by name. */
export interface TensorLookup {
  has(name: string): boolean;
  shape(name: string): readonly number[];
  read(name: string): Promise<Tensor>;
}

/**
 * The form of quantized linears in files; one folder of code for each layout, with the same few functions. A layout
 * packs and unpacks; it never decides a code.
 */
export interface QuantizedLayout {
  readonly name: string;
  /**
   * Names of rewrites whose online part the runtime of this layout computes (`Rewrite.online`). The plan refuses every
   * other rewrite that needs one: the file would load and give wrong text.
   */
  readonly online?: readonly string[];
  /** Keys of its config whose value readers require as a float: `6.0`, never `6`. */
  readonly floatKeys?: readonly string[];
  /** True when its readers can look up rows of quantized tables, so embeddings can be stored too. */
  readonly tables?: true;
  /**
   * True when its readers support experts that the model's own files store in one tensor (`LinearDescription.stacked`).
   */
  readonly stacks?: true;
  /** Static scales of the cache; absent when its readers take none. */
  readonly cacheScales?: CacheScaleLayout;
  /**
   * The reason why linears of a kind stay as they are in every folder of this layout, or undefined. The plan calls it
   * and does not quantize them. For linears that were requested otherwise see {@link refuse}.
   */
  leaves?(linear: LinearDescription): string | undefined;
  /** The reason why a module cannot be stored, or undefined. The plan calls it. */
  refuse(module: QuantizedModule): string | undefined;
  /** The reason why these modules cannot be in one folder, or undefined. The plan calls it. */
  refuseTogether?(modules: readonly QuantizedModule[]): string | undefined;
  /**
   * A property that some readers do not support although the layout can hold it, or undefined. It becomes a note in the
   * plan.
   */
  caution?(module: QuantizedModule): string | undefined;
  /**
   * Tensors that replace the module's weight, without its bias. Their names begin with the module's; shapes and dtypes
   * do not depend on its name.
   */
  plan(module: QuantizedModule): PlannedTensor[];
  /**
   * Their content. Names as in `plan`.
   * @param stream `kernels.stream` of a run, which packs on all threads; `plainStream` when absent
   */
  encode(module: QuantizedModule, quantized: QuantizedTensor, stream?: StreamKernels): Map<string, Tensor>;
  /** The `quantization_config` of config.json, and further files by name. */
  config(
    modules: readonly QuantizedModule[],
    kept: readonly string[],
    record: LayoutRecord,
  ): { config: Record<string, unknown>; files: ReadonlyMap<string, string> };
  /** The reader for a `quantization_config`, or undefined when it belongs to another layout. */
  reader(config: Readonly<Record<string, unknown>>): LayoutReader | undefined;
}

/**
 * A layout that a command or a recipe can name. The package of the layout exports it; `q --use` registers layouts from
 * outside.
 */
export interface LayoutDeclaration<S extends OptionRecord = any> {
  /** Unique; also the name of the layout that it makes. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  readonly options: S;
  /** Zero points may be real numbers. */
  readonly floatZeroPoints?: boolean;
  /** Defaults by name that replace those of the toolkit, when neither the command nor the recipe has a value. */
  readonly defaults?: {
    readonly method?: string;
    readonly weights?: string;
    readonly symmetric?: boolean;
    readonly inputs?: string;
    readonly inputBound?: number;
  };
  /** @param vocabulary number formats and scale storages that files may name, also those of plugins */
  make(options: OptionValues<S>, vocabulary?: SchemeVocabulary): QuantizedLayout;
}

/** Reads modules of one folder. */
export interface LayoutReader {
  readonly layout: string;
  /** A sentence about a difference from the usual runtimes of such folders; `Checkpoint.notes` contains it. */
  readonly note?: string;
  /** Whether a module of this name is stored quantized. */
  has(module: string, tensors: TensorLookup): boolean;
  /** Names of the tensors that belong to a quantized module (bias excluded). */
  tensors(module: string): readonly string[];
  read(module: string, tensors: TensorLookup): Promise<QuantizedTensor>;
  /**
   * The quantization of its inputs at run time; undefined when only the weight is quantized. Absent: the layout never
   * quantizes inputs.
   */
  activation?(module: string, tensors: TensorLookup): Promise<ActivationScheme | undefined>;
  /** Static scales of the cache; absent when the folder's settings name none that can be read. */
  readonly cache?: CacheScaleReader;
}
