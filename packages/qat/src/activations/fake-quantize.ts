import { type DifferentiableOps, type Scheme, SchemeError } from '@q/core';

/** This number is added to the largest magnitude of a token, as in LLM-QAT's code, so a token of zeros has a scale. */
const epsilon = 1e-6;

/**
 * Quantizes and dequantizes activations as a quantized runtime does; the gradient passes through the rounding
 * unchanged. Dynamic, one scale a token: the range of each row of the last axis (LLM-QAT, arXiv 2305.17888: symmetric,
 * no clipping). Dynamic, one scale a tensor: the range of all rows. The gradient treats the range as a constant.
 * @param x `[..., features]`
 * @throws SchemeError for schemes that have no gradient here
 */
export function fakeQuantize<T>(ops: DifferentiableOps<T>, x: T, scheme: Scheme): T {
  const refusal = refuseActivationScheme(scheme);
  if (refusal) throw new SchemeError(refusal);
  const { min, max } = scheme.format;
  const shape = ops.shape(x);
  const size = shape.reduce((product, length) => product * length, 1);
  const rows = scheme.granularity.kind === 'tensor' ? ops.reshape(x, [1, size]) : x;
  if (scheme.zeroPoint === 'none') {
    const step = ops.scale(plus(ops, ops.rowMax(ops.abs(rows)), epsilon), 1 / max);
    return ops.reshape(ops.mul(ops.round(ops.div(rows, step)), step), shape);
  }
  // Zero is in the range: high = max(0, largest), low = max(0, -smallest), both of them constants.
  const positive = (value: T) => ops.activation('relu', value);
  const high = positive(ops.rowMax(rows));
  const low = positive(ops.rowMax(ops.scale(rows, -1)));
  const step = ops.scale(plus(ops, ops.add(high, low), epsilon), 1 / (max - min));
  const zero = plus(ops, ops.round(ops.div(low, step)), min);
  const codes = ops.clip(ops.add(ops.round(ops.div(rows, step)), zero), min, max);
  return ops.reshape(ops.mul(ops.sub(codes, zero), step), shape);
}

/** The reason why activations of a scheme cannot be used in training; undefined if they can. */
export function refuseActivationScheme({ format, granularity }: Scheme): string | undefined {
  if (format.family !== 'linear') return `activations in ${format.name} have no gradient here: use an integer format`;
  if (granularity.kind !== 'token' && granularity.kind !== 'tensor')
    return `activations are quantized per token or per tensor, not per ${granularity.kind}`;
  return undefined;
}

/**
 * PACT (arXiv 1805.06085): clips to a learned `[-limit, limit]` (`[0, limit]` when `signed` is false) and rounds to
 * `steps` equal steps. The derivative by the limit is the sum of the derivatives by the clipped activations, with their
 * sign. Activations inside of the limit get their derivatives unchanged.
 * @param limit a positive scalar, shape `[]`
 */
export function clippedQuantize<T>(
  ops: DifferentiableOps<T>,
  x: T,
  limit: T,
  { steps, signed = true }: { readonly steps: number; readonly signed?: boolean },
): T {
  // clip(x, -a, a) = (|x + a| - |x - a|) / 2, and (|x| - |x - a| + a) / 2 on one side: equations 1 and 2 of the paper.
  const above = ops.abs(ops.sub(x, limit));
  const clipped = signed
    ? ops.scale(ops.sub(ops.abs(ops.add(x, limit)), above), 0.5)
    : ops.scale(ops.add(ops.sub(ops.abs(x), above), limit), 0.5);
  // Rounding counts as the addition of a constant, so no derivative goes through the step.
  const step = ops.scale(ops.rowMax(ops.reshape(limit, [1])), (signed ? 2 : 1) / steps);
  return ops.mul(ops.round(ops.div(clipped, step)), step);
}

function plus<T>(ops: DifferentiableOps<T>, x: T, value: number): T {
  return ops.add(x, ops.fromF32(Float32Array.of(value), []));
}
