import type { Context } from './context.js';
import type { QuantizedTensor } from './quantized-tensor.js';
import type { Scheme } from './scheme.js';
import type { Statistic, Statistics } from './statistic.js';
import type { Tensor } from './tensor.js';

/**
 * A method that quantizes one weight. Pure: no file, no model, no state between calls. A factory makes it from the
 * method's options: `gptq({ actOrder: true })`.
 */
export interface Quantizer {
  readonly name: string;
  /** The options in effect, as plain JSON: part of the recipe's identity and of the report. */
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * The statistics that it needs. Empty: it is data-free, and the pipeline reads tensors one by one and never runs the
   * model.
   */
  readonly needs: readonly Statistic<any>[];
  /**
   * The derivatives of the end loss that it uses. Each token is weighted by its mean squared derivatives to the power
   * `tokens`: the rows of a linear's inputs are multiplied by the roots of these weights before statistics see them (0:
   * all tokens have the same weight). With `outputs`, statistics also have `outputMoments` of the linear.
   */
  readonly endLoss?: { readonly tokens: number; readonly outputs: boolean };
  /**
   * Share of the calibration tokens on which the unquantized model must run, for the statistics that compare with it
   * (`paired`). Above 0 and at most 1: this share of the batches, evenly spaced. Such statistics count their own
   * tokens. All tokens when absent.
   * @param tokens of the calibration
   * @param inFeatures of the linear
   * @param scheme of its weight
   */
  pairedTokens?(tokens: number, inFeatures: number, scheme: Scheme): number;
  /**
   * True: later columns of a weight make up for the rounding errors of earlier ones, as in GPTQ. A budget then expects
   * less loss of a linear than rounding gives.
   */
  readonly compensates?: true;
  /** Returns the reason why a scheme cannot be used, or undefined. The plan calls it before anything is computed. */
  refuse?(scheme: Scheme, shape: readonly number[]): string | undefined;
  /**
   * @param weight `[out, in]`, f32, finite. Not modified.
   * @param into memory to reuse: the codes may be a view of it
   * @throws NumericError, CalibrationError, SchemeError
   */
  quantize(
    weight: Tensor<'f32'>,
    statistics: Statistics,
    scheme: Scheme,
    context: Context,
    into?: Uint8Array,
  ): Promise<QuantizeResult>;
}

export interface QuantizeResult {
  readonly quantized: QuantizedTensor;
  readonly report: ModuleReport;
  /**
   * `[out, in]`: the matrix that the codes approximate, when it is not the weight. A method that corrects for the
   * errors of earlier linears returns its corrected weight here, so its error is measured against that.
   */
  readonly target?: Tensor<'f32'>;
}

/** Why a module did not get the requested method: `worse` than round-to-nearest, not finite, or too few tokens. */
export type FallbackReason = 'worse' | 'notFinite' | 'fewTokens';

/** The result of the request for a module. */
export type ModuleOutcome =
  | { readonly kind: 'requested' }
  | {
      readonly kind: 'fallback';
      /** The method that was applied instead, `rtn`. */
      readonly to: string;
      readonly reason: FallbackReason;
      /** The reason with its figures, in one sentence. */
      readonly why: string;
    };

/** Report of a method on one module. It is plain JSON. */
export interface ModuleReport {
  /** The method that was really applied (a fallback has its own name here). */
  readonly method: string;
  /** Calibration tokens seen; 0 for data-free methods. */
  readonly tokens: number;
  /** The method's own figures: `loss`, `damping`, `retries`, `deadColumns`, ... */
  readonly figures: Readonly<Record<string, number>>;
  /** Sentences about everything that was not done as requested. */
  readonly notes: readonly string[];
  /** Absent: the method did what was requested. */
  readonly outcome?: ModuleOutcome;
}
