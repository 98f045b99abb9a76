import {
  dequantize,
  NumericError,
  type QuantizedTensor,
  type Random,
  type Scheme,
  SchemeError,
  type Tiling,
  tiling,
} from '@q/core';
import type { QuantizedParameterization } from './parameterization.js';
import { refuseSignedRounding } from './signed-rounding.js';

export interface SoftShiftsOptions {
  /** Neighbouring codes on each side that a weight may move to. Default 1. */
  readonly reach?: number;
  /**
   * Returns the number of the current step of `value()`, from 0, and the number of all steps. The temperatures depend
   * on them.
   */
  readonly step: () => number;
  readonly steps: number;
  /** Noise of a step, forked by the step's number, so a resumed training draws the same noise. */
  readonly random: Random;
}

/** Size of a logit's unit. It is small, so a step of a sign optimizer is a small part of it. */
const unit = 0.01;
/** Preference for the start's own codes: with the first sharpness they are kept with probability 0.91. */
const preference = 6;

/** Linear from the first value to the last one over all steps. */
const temperature = { first: 2, last: 0.05 };
const sharpness = { first: 100, last: 500 };

/**
 * A choice between a quantizer's code and its neighbours for each weight (GSQ, arXiv 2604.18556): a logit for each of
 * the shifts `-reach..reach`, a Gumbel-softmax over them, and trained scales. During training a weight is the mean of
 * its candidates, `s (q0 - z + sum_c p_c c)` with `p = softmax((kappa l + gumbel) / tau)`. `tau` falls and `kappa`
 * rises, so the choices are decided at the end. `quantized()` takes the most likely candidate. Shifts beyond the
 * format's range are never chosen.
 *
 * After `settle()` the value equals the dequantized `quantized()`.
 * @param start initial codes, scales and zero points
 * @throws SchemeError for formats that are not integers, and storages whose scales depend on each other
 */
export function softShifts(start: QuantizedTensor, options: SoftShiftsOptions): QuantizedParameterization {
  const refusal = refuseSoftShifts(start.scheme);
  if (refusal) throw new SchemeError(refusal);
  const { reach = 1, random } = options;
  const { scheme, shape, zeroPoints } = start;
  const choices = 2 * reach + 1;
  const size = start.codes.length;
  const largest = scheme.format.max - scheme.format.min;
  const indexOf = tileIndex(tiling(scheme.granularity, shape));
  const logits = startLogits(start.codes, reach, largest, random);
  const scale = start.scales.slice();
  const means = new Float32Array(size);
  const probabilities = new Float32Array(size * choices);
  let settled = false;
  let current: { tau: number; kappa: number; scales: Float32Array } | undefined;

  const storedOf = () => scheme.scaleStorage.store(keepSigns(scale, start.scales));
  const hardCodes = (): Uint8Array => {
    const codes = new Uint8Array(size);
    for (let i = 0; i < size; i++) {
      let best = reach;
      for (let c = 0; c < choices; c++) {
        const code = start.codes[i] + c - reach;
        if (code >= 0 && code <= largest && logits[i * choices + c] > logits[i * choices + best]) best = c;
      }
      codes[i] = start.codes[i] + best - reach;
    }
    return codes;
  };
  const quantized = (): QuantizedTensor => {
    const storedScales = storedOf();
    return {
      ...{ scheme, shape, codes: hardCodes(), scales: storedScales.effective, storedScales },
      ...(zeroPoints ? { zeroPoints } : {}),
    };
  };
  const soften = (): Float32Array => {
    const share = options.steps > 1 ? Math.min(1, options.step() / (options.steps - 1)) : 1;
    const tau = temperature.first + share * (temperature.last - temperature.first);
    const kappa = sharpness.first + share * (sharpness.last - sharpness.first);
    const draws = random.fork(`step ${options.step()}`);
    const { effective: scales } = storedOf();
    const scores = new Float64Array(choices);
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      let top = Number.NEGATIVE_INFINITY;
      for (let c = 0; c < choices; c++) {
        const code = start.codes[i] + c - reach;
        // Every candidate draws noise, allowed or not, so the noise of a weight does not depend on its code.
        const gumbel = -Math.log(-Math.log(draws.uniform() + 2 ** -54));
        scores[c] =
          code < 0 || code > largest ? Number.NEGATIVE_INFINITY : (kappa * logits[i * choices + c] + gumbel) / tau;
        if (scores[c] > top) top = scores[c];
      }
      let sum = 0;
      for (let c = 0; c < choices; c++) sum += scores[c] = Math.exp(scores[c] - top);
      let mean = 0;
      for (let c = 0; c < choices; c++) {
        const p = scores[c] / sum;
        probabilities[i * choices + c] = p;
        mean += p * (c - reach);
      }
      means[i] = mean;
      const t = indexOf(i);
      values[i] = (start.codes[i] + scheme.format.min + mean - (zeroPoints?.[t] ?? 0)) * scales[t];
    }
    current = { tau, kappa, scales };
    return values;
  };
  return {
    shape,
    parameters: { logits, scale },
    value: () => (settled ? dequantize(quantized()).data : soften()),
    backward(derivative) {
      if (!current) throw new NumericError('backward() before value(): nothing has been computed yet');
      const { tau, kappa, scales } = current;
      const byLogit = new Float32Array(logits.length);
      const byScale = new Float32Array(scale.length);
      for (let i = 0; i < size; i++) {
        const t = indexOf(i);
        const slope = derivative[i] * scales[t] * (kappa / tau);
        for (let c = 0; c < choices; c++)
          byLogit[i * choices + c] = slope * probabilities[i * choices + c] * (c - reach - means[i]);
        byScale[t] += derivative[i] * (start.codes[i] + scheme.format.min + means[i] - (zeroPoints?.[t] ?? 0));
      }
      return { logits: byLogit, scale: byScale };
    },
    quantized,
    settle() {
      settled = true;
    },
    restart() {
      logits.set(startLogits(start.codes, reach, largest, random));
      scale.set(start.scales);
    },
  };
}

/** The reason why codes of a scheme cannot be chosen by shifts; undefined if they can. */
export function refuseSoftShifts(scheme: Scheme): string | undefined {
  return refuseSignedRounding(scheme);
}

function startLogits(codes: ArrayLike<number>, reach: number, largest: number, random: Random): Float32Array {
  const choices = 2 * reach + 1;
  const draws = random.fork('start');
  const logits = new Float32Array(codes.length * choices);
  for (let i = 0; i < codes.length; i++)
    for (let c = 0; c < choices; c++) {
      const shift = c - reach;
      const noise = draws.normal();
      const code = codes[i] + shift;
      // A tenth of the paper's noise. The start comes from a calibrated solver, and noise alone must not change its
      // codes.
      logits[i * choices + c] =
        code < 0 || code > largest ? -1 : unit * (noise * 0.1 - (preference * shift * shift) / 2);
    }
  return logits;
}

/** Scales keep the sign of their start: full-range symmetric grids have negative ones. */
function keepSigns(scale: Float32Array, start: Float32Array): Float32Array {
  const smallest = 2 ** -20;
  for (let t = 0; t < scale.length; t++)
    if (Math.abs(scale[t]) < smallest || scale[t] * start[t] < 0) scale[t] = Math.sign(start[t] || 1) * smallest;
  return scale;
}

/** The index of the scale of element i. */
function tileIndex({ columns, tileRows, tileColumns, scaleColumns }: Tiling): (i: number) => number {
  return (i) => Math.floor(Math.floor(i / columns) / tileRows) * scaleColumns + Math.floor((i % columns) / tileColumns);
}
