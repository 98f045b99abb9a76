import type { ActivationScheme } from './activation-scheme.js';
import type { OptionRecord, OptionValues } from './option.js';
import type { Quantizer } from './quantizer.js';
import type { Scheme } from './scheme.js';
import type { ModelStep } from './transform.js';
import type { Tuner } from './tuner.js';

/**
 * A method as a command or a recipe names it: everything that the rest of the toolkit has to know of it. The package of
 * the method exports it; a method from outside is registered with `q --use`, and is treated like a built-in one.
 */
export interface Method<S extends OptionRecord = any> {
  /** Unique: `gptq`. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  /** Its own options; those of `base` come on top. */
  readonly options: S;
  /** Rounds the weights. Absent when `base` does it. */
  quantizer?(options: OptionValues<S>): Quantizer;
  /** Another method, by name, whose quantizer rounds the weights: a training starts from it, a transform precedes it. */
  readonly base?: MethodBase;
  /** Steps that change the model before its weights are quantized. */
  steps?(options: OptionValues<S>): readonly ModelStep[];
  /** Trains what the quantizer has started. */
  tuner?(options: OptionValues<S>): Tuner;
  /** The method's own schemes of weights and inputs, when bits and groups are not free. */
  schemes?(options: OptionValues<S>): { readonly scheme: Scheme; readonly activation?: ActivationScheme };
  /** Zero points are real numbers in layouts that can hold them, else they are rounded to whole ones. */
  readonly floatZeroPoints?: boolean;
  /** Name of the layout that is written when none is requested. */
  readonly layout?: string;
  /**
   * Rounds tables of embeddings and heads, which see no calibration: the first method that has it does. Absent where a method
   * needs inputs, or is meant for products alone.
   */
  tables?(): Quantizer;
  /**
   * Rounds the output projection by the inputs that it sees in the calibration text, and the table that it is tied to. Absent:
   * it is rounded as tables are.
   */
  head?(options: OptionValues<S>): Quantizer;
  /** The model writes the calibration text itself when none is given. */
  readonly writesText?: boolean;
}

export interface MethodBase {
  readonly method: string;
  /** The options of the base that this method takes too; all when absent. */
  readonly options?: readonly string[];
  /** Values of the base's options that stand in for its own defaults. */
  readonly defaults?: Readonly<Record<string, unknown>>;
}
