import type { ActivationScheme } from './activation-scheme.js';
import type { OptionRecord, OptionValues } from './option.js';
import type { Quantizer } from './quantizer.js';
import type { Scheme } from './scheme.js';
import type { ModelStep } from './transform.js';
import type { Tuner } from './tuner.js';

/**
 * A method that a command or a recipe can name, with everything that the toolkit needs to know about it. The package of
 * the method exports it. `q --use` registers a method from outside, which then works like a built-in one.
 */
export interface Method<S extends OptionRecord = any> {
  /** Unique: `gptq`. */
  readonly name: string;
  /** One plain sentence for help and documentation. */
  readonly summary: string;
  /** Its own options; the options of `base` are added. */
  readonly options: S;
  /** Rounds the weights. Absent when `base` does it. */
  quantizer?(options: OptionValues<S>): Quantizer;
  /**
   * Another method, by name, whose quantizer rounds the weights: for a training that starts from it, or a transform
   * that runs before it.
   */
  readonly base?: MethodBase;
  /** Steps that change the model before its weights are quantized. */
  steps?(options: OptionValues<S>): readonly ModelStep[];
  /** Trains the result of the quantizer. */
  tuner?(options: OptionValues<S>): Tuner;
  /** The method's own schemes of weights and inputs, when bits and groups are not free. */
  schemes?(options: OptionValues<S>): { readonly scheme: Scheme; readonly activation?: ActivationScheme };
  /** True: zero points are real numbers in layouts that can hold them; other layouts round them to integers. */
  readonly floatZeroPoints?: boolean;
  /** Name of the layout that is written when none is requested. */
  readonly layout?: string;
  /**
   * Rounds the tables of embeddings and heads, which have no calibration inputs. The first method with this function
   * does it. Absent if a method needs inputs, or works only on products.
   */
  tables?(): Quantizer;
  /**
   * Rounds the output projection by its inputs on the calibration text, and with it a tied table. Absent: it is rounded
   * as tables are.
   */
  head?(options: OptionValues<S>): Quantizer;
  /** The model writes the calibration text itself when none is given. */
  readonly writesText?: boolean;
}

export interface MethodBase {
  readonly method: string;
  /** The options of the base that this method also accepts; all when absent. */
  readonly options?: readonly string[];
  /** Values that replace the defaults of the base's options. */
  readonly defaults?: Readonly<Record<string, unknown>>;
}
