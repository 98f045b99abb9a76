import type { NormDescription, Runtime, ScalableEdge } from '@q/core';
import { normTensors } from './linear-description.js';

/** A norm over the last axis. */
export interface Norm {
  readonly module: string;
  readonly kind: NormDescription['kind'];
  readonly width: number;
  readonly epsilon: number;
  /** The gain is 1 + weight (Gemma). */
  readonly gainOffset?: 1;
}

/** Its tensors with their shapes in the file; layer norms have a bias. */
export function tensorsOfNorm({ module, kind, width }: Norm): [string, readonly number[]][] {
  return normTensors([module], width, kind === 'layer');
}

/** The norm as the producer of an edge. */
export function normProducer({ module, gainOffset }: Norm): ScalableEdge['producer'] {
  return { kind: 'norm', module, ...(gainOffset ? { gainOffset } : {}) };
}

/** @param x `[..., width]` */
export function applyNorm<T>(runtime: Runtime<T>, { module, kind, epsilon, gainOffset }: Norm, x: T): T {
  const { ops } = runtime;
  const weight = runtime.weight(`${module}.weight`);
  if (kind === 'layer') return ops.layerNorm(x, weight, runtime.weight(`${module}.bias`), epsilon);
  return ops.rmsNorm(x, gainOffset ? ops.add(weight, ops.fromF32(Float32Array.of(gainOffset), [])) : weight, epsilon);
}

/**
 * Applies a norm to each head.
 * @param x `[batch, length, heads*width]`
 */
export function applyNormPerHead<T>(runtime: Runtime<T>, norm: Norm, x: T): T {
  const { ops } = runtime;
  const shape = ops.shape(x);
  const heads = shape[2]! / norm.width;
  return ops.reshape(applyNorm(runtime, norm, ops.reshape(x, [shape[0]!, shape[1]!, heads, norm.width])), shape);
}
