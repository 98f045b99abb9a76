import { dequantize, type Engine, type LinearDescription, NumericError, quantize } from '@q/core';
import { outputGradients } from '@q/end-loss';
import { collectEnds, type EndCurvature, endLosses } from './end-curvature.js';
import type { SensitivityOptions } from './measure-sensitivity.js';
import { roundingFit, type SensitivityUnit } from './sensitivity-unit.js';
import { unexplainedShare } from './unexplained-share.js';

/** As for `measureSensitivity`, on an engine with gradients. */
export interface EstimateOptions<T> extends Omit<SensitivityOptions<T>, 'engine'> {
  readonly engine: Engine<T>;
}

/** What one backward pass leaves of a linear. */
interface Curvature {
  readonly width: number;
  /** `sum over t of s_t x_t x_t^T` `[width, width]`, with s_t the mean square of the token's derivatives. */
  readonly inputs: Float32Array;
  /** Sum over tokens of the squared derivatives by each output `[out]`. */
  readonly outputs: Float64Array;
}

/** What one backward pass leaves of the model. */
interface Curvatures {
  readonly linears: ReadonlyMap<string, Curvature>;
  /** Of the table of tokens and the head, if a unit has one of them. */
  readonly ends?: EndCurvature;
}

/**
 * The KL divergences that `measureSensitivity` measures, estimated to second order from one forward and one backward pass for all units
 * and candidates together: for the difference D of a linear's weight
 *
 *     KL = 1/2 E[(g . D x)^2],   taken as   1/2 sum_j w_j D_j H D_j^T / tokens
 *
 * with g the derivatives of the end loss by the linear's outputs, labels drawn from the model itself, H the inputs' second moments with
 * each token weighted by the mean of its squared derivatives, and w_j the share of output j in them (GuidedQuant, arXiv
 * 2505.07004; Model-Optimizer's score of gradients). Effects of different outputs and tokens on each other are left out, so widths at
 * which a linear's own error is large are the least certain. Tables of tokens and heads: `endLosses`.
 *
 * A method that compensates (GPTQ) leaves less: each column's error counts with the variance of its input that the later columns cannot
 * explain, and not with the whole variance. The estimate of such a unit is multiplied by the ratio of the two.
 * @throws NumericError naming the unit when an estimate is not finite
 * @throws SchemeError for models with routed experts
 */
export async function estimateSensitivity<T>(options: EstimateOptions<T>): Promise<Map<string, readonly number[]>> {
  const { context, units, finished, onMeasured } = options;
  const estimated = new Map<string, readonly number[]>(finished);
  const open = units.filter(({ name }) => !estimated.has(name));
  if (open.length === 0) return estimated;
  const { linears, ends } = await curvaturesOf(options, new Set(open.flatMap(({ modules }) => modules)));
  for (const [index, unit] of open.entries()) {
    const inside = linears.has(unit.modules[0]);
    const sums = inside
      ? await linearLosses(options, unit, linears)
      : await endLosses(options, unit, ends as EndCurvature);
    if (!sums.every(Number.isFinite))
      throw new NumericError(`${unit.name}: the estimate of its sensitivity is not finite: ${sums}`);
    estimated.set(unit.name, sums);
    await onMeasured?.(unit.name, sums);
    context.progress({ task: 'sensitivity', done: index + 1, total: open.length, unit: 'units' });
  }
  return estimated;
}

async function linearLosses<T>(
  { context: { kernels, signal }, weight, windows }: EstimateOptions<T>,
  unit: SensitivityUnit,
  curvatures: ReadonlyMap<string, Curvature>,
): Promise<number[]> {
  const tokens = windows.count * windows.length;
  const sums = unit.candidates.map(() => 0);
  for (const module of unit.modules) {
    const original = await weight(`${module}.weight`);
    const { width, inputs, outputs } = curvatures.get(module) as Curvature;
    const [rows] = original.shape;
    const mean = outputs.reduce((sum, value) => sum + value, 0) / rows;
    const left = unit.compensated ? await unexplainedShare(inputs, width, kernels) : 1;
    for (const [i, candidate] of unit.candidates.entries()) {
      signal?.throwIfAborted();
      const { data } = dequantize(quantize(original, candidate, { fit: roundingFit, kernels }));
      const difference = data.map((value, at) => original.data[at] - value);
      const product = await kernels.matmul({ a: difference, b: inputs, m: rows, n: width, k: width });
      for (let row = 0; row < rows && mean > 0; row++) {
        let own = 0;
        for (let at = row * width; at < (row + 1) * width; at++) own += difference[at] * product[at];
        sums[i] += (left * (outputs[row] / mean) * own) / (2 * tokens);
      }
    }
  }
  return sums;
}

async function curvaturesOf<T>(
  { model, engine, weight, windows, batch, context }: EstimateOptions<T>,
  wanted: ReadonlySet<string>,
): Promise<Curvatures> {
  const curvatures = new Map<string, Curvature>();
  const linears = new Map(model.blocks.flatMap((block) => block.linears).map((linear) => [linear.module, linear]));
  const source = { weight };
  const ends = [...wanted].some((module) => !linears.has(module)) ? collectEnds(model, windows) : undefined;
  await outputGradients(
    { model, engine, source, windows, batch, inputs: true, ...(ends ? { visitEnds: ends.visit } : {}) },
    async ({ module, gradient, input }) => {
      if (!wanted.has(module)) return;
      const { inFeatures: width, outFeatures: rows } = linears.get(module) as LinearDescription;
      const x = (input as Float32Array).slice();
      const tokens = x.length / width;
      let own = curvatures.get(module);
      if (!own) {
        own = { width, inputs: new Float32Array(width ** 2), outputs: new Float64Array(rows) };
        curvatures.set(module, own);
      }
      for (let t = 0; t < tokens; t++) {
        let sum = 0;
        for (let j = 0; j < rows; j++) {
          const square = gradient[t * rows + j] ** 2;
          sum += square;
          own.outputs[j] += square;
        }
        const root = Math.sqrt(sum / rows);
        for (let i = t * width; i < (t + 1) * width; i++) x[i] *= root;
      }
      await context.kernels.gram({ x, tokens, width, out: own.inputs });
    },
    context,
  );
  return { linears: curvatures, ...(ends ? { ends: ends.result() } : {}) };
}
