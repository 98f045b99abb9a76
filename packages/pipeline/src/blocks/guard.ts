import {
  allFinite,
  dequantize,
  type FallbackReason,
  type Kernels,
  type ModuleReport,
  minMax,
  NumericError,
  type QuantizedTensor,
  type QuantizeResult,
  quantize,
  type ScaleFit,
  type Scheme,
  type Tensor,
  weightedSearch,
} from '@q/core';
import { errorsOnGrids, gridsFinite, ownGrids, quantizedRows, rowsOf } from './grid-errors.js';
import { relativeErrors } from './relative-errors.js';

/** Rows of a weight on which its error is measured. They give two digits, for a small share of the solver's time. */
const measuredRows = 256;

/**
 * A result is replaced if its error is more than this multiple of round-to-nearest's error. The limit is not 1, because
 * round-to-nearest depends on the fit of the range: another fit (one code less of 8 bits, for instance) has errors up
 * to 2 % above the fit that is used here. Both errors are measured on a sample of rows, too.
 */
const tolerated = 1.05;

/** A weight, and what is known about its inputs. */
export interface JudgedModule {
  /** `[out, in]`. */
  readonly weight: Tensor<'f32'>;
  readonly result?: Pick<QuantizeResult, 'target'>;
  /**
   * `X^T X` of the linear's inputs `[in, in]`, or its diagonal `[in]`. Without it errors are those of the weights alone.
   */
  readonly hessian?: ArrayLike<number>;
  /** True if the caller needs the quantized weight's values, because they replace the weight in the model. */
  readonly wantsValues?: boolean;
}

/** A weight and the result of a method for it. */
export interface GuardedModule extends JudgedModule {
  readonly module: string;
  /** Name of the method that was requested. */
  readonly method: string;
  readonly scheme: Scheme;
  readonly result: QuantizeResult;
}

/** The result that is written, and its errors. */
export interface GuardedResult {
  readonly quantized: QuantizedTensor;
  readonly report: ModuleReport;
  /** `[out, in]`, if `wantsValues`. */
  readonly values?: Tensor<'f32'>;
  /** `tr(D H D^T) / tr(T H T^T)`, with T the method's target or else the weight, and D the values minus T. */
  readonly error: number;
  /** The same error for the weight rounded to nearest with the range of the values. */
  readonly rtnError: number;
  /** `tr(M H M^T) / tr(T H T^T)`, with M the target minus the weight; absent if the target is the weight. */
  readonly targetShift?: number;
}

/**
 * Judges the result of every method. Its values must be finite, and its error on the calibration inputs (of the weights
 * alone for data-free methods) must not be larger than that of round-to-nearest. Otherwise the module is rounded to
 * nearest, and its report states this in `outcome` and in its notes.
 * @throws NumericError naming the module when round-to-nearest is not finite either
 */
export async function guard(guarded: GuardedModule, kernels: Kernels): Promise<GuardedResult> {
  const { module, method, scheme, weight, result } = guarded;
  const judged = await judge(guarded, result.quantized, kernels);
  const worse = judged && !(judged.error <= tolerated * judged.rtnError);
  if (judged && !worse) return { quantized: result.quantized, report: result.report, ...judged };
  const reason: FallbackReason = judged ? 'worse' : 'notFinite';
  const why = judged
    ? `its error ${judged.error.toExponential(2)} is above ${judged.rtnError.toExponential(2)} of round-to-nearest`
    : 'its values are not finite';
  let best: GuardedResult | undefined;
  for (const fit of [minMax(), weightedSearch()]) {
    const quantized = nearest(weight, scheme, fit, kernels);
    const found = await judge(guarded, quantized, kernels);
    if (!found || (best && !(found.error < best.error))) continue;
    const notes = [...result.report.notes, `${method} was replaced by round-to-nearest here: ${why}`];
    const outcome = { kind: 'fallback', to: 'rtn', reason, why } as const;
    best = { quantized, report: { ...result.report, method: 'rtn', notes, outcome }, ...found };
  }
  if (!best)
    throw new NumericError(
      `${module}: ${method} produced values that are not finite, and so does round-to-nearest: use f32 scales or keep this module with a rule`,
    );
  return best;
}

const nearest = (weight: Tensor<'f32'>, scheme: Scheme, fit: ScaleFit, kernels: Kernels): QuantizedTensor =>
  quantize(weight, scheme, { fit, kernels });

/** The errors and values of a quantized weight. */
export type Judgement = Pick<GuardedResult, 'values' | 'error' | 'rtnError' | 'targetShift'>;

/** The errors of a quantized weight; undefined if its values are not finite. */
export async function judge(
  { weight, result: { target } = {}, hessian, wantsValues }: JudgedModule,
  quantized: QuantizedTensor,
  kernels: Kernels,
): Promise<Judgement | undefined> {
  const [rows] = weight.shape;
  const count = Math.min(rows, measuredRows);
  const sample = Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count));
  const values = wantsValues || !ownGrids(quantized) ? dequantize(quantized) : undefined;
  if (!(values ? allFinite(values.data) : gridsFinite(quantized))) return undefined;
  const kept = wantsValues ? { values } : {};
  const onGrids = values || target || hessian ? undefined : errorsOnGrids(weight, quantized, sample, kernels);
  if (onGrids) return { error: onGrids[0], rtnError: onGrids[1] };

  const measured = rowsOf(weight, sample);
  const { scheme } = quantized;
  const own = values ? rowsOf(values, sample) : dequantize(quantizedRows(quantized, sample));
  // If rows are rounded independently, rounding the measured rows is enough.
  const rounded = ownGrids(quantized)
    ? dequantize(nearest(measured, scheme, minMax(), kernels))
    : rowsOf(dequantize(nearest(weight, scheme, minMax(), kernels)), sample);
  if (!target) {
    const versions = [own.data, rounded.data];
    const [error, rtnError] = await relativeErrors(measured.data, versions, count, hessian, kernels);
    return { ...kept, error, rtnError };
  }
  const aim = rowsOf(target, sample);
  const versions = [own.data, rounded.data, measured.data];
  const [error, rtnError, moved] = await relativeErrors(aim.data, versions, count, hessian, kernels);
  return { ...kept, error, rtnError, targetShift: moved };
}
