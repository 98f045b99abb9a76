import type {
  ActivationScheme,
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

/** A linear that is going to be stored quantized. */
export interface QuantizedModule {
  readonly linear: LinearDescription;
  readonly scheme: Scheme;
  /** How its inputs are quantized when it runs; absent for weights alone. A static scale is known once it is encoded. */
  readonly activation?: ActivationScheme;
  /** Groups are not consecutive columns (act-order without static groups). */
  readonly reordered?: boolean;
  /** The weight comes with a table of levels of its own, one for all rows or one a row. */
  readonly codebook?: 'tensor' | 'row';
}

/** Settings of a run that a layout's config may record. */
export interface LayoutRecord {
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Module of the model's output projection. Absent in models without one. */
  readonly head?: string;
}

/** Reads tensors of a folder by name. */
export interface TensorLookup {
  has(name: string): boolean;
  shape(name: string): readonly number[];
  read(name: string): Promise<Tensor>;
}

/**
 * How quantized linears are kept in files: one folder a layout, the same few functions in each. A layout packs and
 * unpacks; it never decides a code.
 */
export interface QuantizedLayout {
  readonly name: string;
  /**
   * Names of rewrites whose online part the runtime of this layout computes (`Rewrite.online`). The plan refuses every other
   * rewrite that needs one: the file would load and give wrong text.
   */
  readonly online?: readonly string[];
  /** Keys of its config whose value readers insist on being written as a float: `6.0`, never `6`. */
  readonly floatKeys?: readonly string[];
  /** Its readers look up rows of quantized tables: embeddings can be stored too. Absent where they cannot. */
  readonly tables?: true;
  /** Its readers take experts that the model's own files keep in one tensor (`LinearDescription.stacked`). Absent where they cannot. */
  readonly stacks?: true;
  /**
   * Why linears of a kind stay as they are in every folder of this layout, or nothing. Asked by the plan, which keeps them:
   * {@link refuse} is for what was wanted otherwise.
   */
  leaves?(linear: LinearDescription): string | undefined;
  /** Why a module cannot be stored, or nothing. Asked by the plan. */
  refuse(module: QuantizedModule): string | undefined;
  /** Why these modules cannot be in one folder, or nothing. Asked by the plan. */
  refuseTogether?(modules: readonly QuantizedModule[]): string | undefined;
  /** What some readers will not take although the layout can hold it, or nothing. A note in the plan. */
  caution?(module: QuantizedModule): string | undefined;
  /**
   * Tensors that replace the module's weight, without its bias. Their names begin with the module's; shapes and dtypes do not
   * depend on its name.
   */
  plan(module: QuantizedModule): PlannedTensor[];
  /**
   * Their content. Names as in `plan`.
   * @param stream `kernels.stream` of a run, which packs on all threads; `plainStream` when absent
   */
  encode(module: QuantizedModule, quantized: QuantizedTensor, stream?: StreamKernels): Map<string, Tensor>;
  /** What goes into config.json as `quantization_config`, and files beside it by name. */
  config(
    modules: readonly QuantizedModule[],
    kept: readonly string[],
    record: LayoutRecord,
  ): { config: Record<string, unknown>; files: ReadonlyMap<string, string> };
  /** The reader for a `quantization_config`, or nothing when it is of another layout. */
  reader(config: Readonly<Record<string, unknown>>): LayoutReader | undefined;
}

/** A layout as a command or a recipe names it: the package of the layout exports it, and `q --use` registers outside ones. */
export interface LayoutDeclaration<S extends OptionRecord = any> {
  /** Unique, and the name of the layout that it makes. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  readonly options: S;
  /** Zero points may be real numbers. */
  readonly floatZeroPoints?: boolean;
  /** By their names: what is taken where neither the command nor the recipe says it, instead of the toolkit's defaults. */
  readonly defaults?: { readonly method?: string; readonly weights?: string; readonly symmetric?: boolean };
  /** @param vocabulary number formats and scale storages that may be named in the files, outside ones included */
  make(options: OptionValues<S>, vocabulary?: SchemeVocabulary): QuantizedLayout;
}

/** Reads modules of one folder. */
export interface LayoutReader {
  readonly layout: string;
  /** What is not as in the runtimes that such folders are made for, in words; `Checkpoint.notes` has it. */
  readonly note?: string;
  /** Whether a module of this name is stored quantized. */
  has(module: string, tensors: TensorLookup): boolean;
  /** Names of the tensors that belong to a quantized module (bias excluded). */
  tensors(module: string): readonly string[];
  read(module: string, tensors: TensorLookup): Promise<QuantizedTensor>;
  /** How its inputs are quantized when it runs; nothing for weights alone. Absent: the layout knows no such thing. */
  activation?(module: string, tensors: TensorLookup): Promise<ActivationScheme | undefined>;
}
