import type { Tensor } from '../tensor.js';
import type { Context } from './context.js';
import type { QuantizedTensor } from './quantized-tensor.js';
import type { Scheme } from './scheme.js';
import type { Statistic, Statistics } from './statistic.js';

/**
 * A method that quantizes one weight. Pure: no file, no model, no state between calls. Made by a factory that takes the
 * method's options: `gptq({ actOrder: true })`.
 */
export interface Quantizer {
  readonly name: string;
  /** The options in effect, as plain JSON: part of the recipe's identity and of the report. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What must have been collected. Empty: data-free, the pipeline streams tensors and never runs the model. */
  readonly needs: readonly Statistic<any>[];
  /**
   * What it reads of the end loss's derivatives. Tokens count by their mean squares to the power `tokens`: the rows of a linear's inputs
   * are multiplied by the roots of these weights before statistics see them (0: all tokens alike). With `outputs`, statistics
   * also hold `outputMoments` of the linear.
   */
  readonly endLoss?: { readonly tokens: number; readonly outputs: boolean };
  /**
   * Share of the calibration tokens on which the unquantized model has to run for the statistics that compare with it (`paired`),
   * above 0 and at most 1: that many batches, evenly spaced. Such statistics count their own tokens. All tokens when absent.
   * @param tokens of the calibration
   * @param inFeatures of the layer
   */
  pairedTokens?(tokens: number, inFeatures: number): number;
  /**
   * Says why a scheme cannot be used, or nothing. Called by the plan, before anything is computed.
   */
  refuse?(scheme: Scheme, shape: readonly number[]): string | undefined;
  /**
   * @param weight `[out, in]`, f32, finite. Not modified.
   * @param into memory to use again: the codes may be a view of it
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
  readonly report: LayerReport;
  /**
   * `[out, in]`: what the codes approximate, when that is not the weight. A method that corrects for the errors of earlier
   * layers states its corrected weight here, so that its error is measured against what it set out to reach.
   */
  readonly target?: Tensor<'f32'>;
}

/** Why a layer did not get the requested method: `worse` than round-to-nearest, not finite, or too few tokens. */
export type FallbackReason = 'worse' | 'notFinite' | 'fewTokens';

/** What became of the request for a layer. */
export type LayerOutcome =
  | { readonly kind: 'requested' }
  | {
      readonly kind: 'fallback';
      /** The method applied instead, `rtn`. */
      readonly to: string;
      readonly reason: FallbackReason;
      /** The reason with its figures, in one sentence. */
      readonly why: string;
    };

/** What a method did to one layer. Numbers only, so that it goes into JSON as it is. */
export interface LayerReport {
  /** The method that really was applied (a fallback names itself here). */
  readonly method: string;
  /** Calibration tokens seen; 0 for data-free methods. */
  readonly tokens: number;
  /** Method's own figures: `loss`, `damping`, `retries`, `deadColumns`, ... */
  readonly figures: Readonly<Record<string, number>>;
  /** Things done otherwise than asked, in words. */
  readonly notes: readonly string[];
  /** Absent: the method did what was requested. */
  readonly outcome?: LayerOutcome;
}
