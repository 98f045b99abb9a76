import {
  createContext,
  createRandom,
  hessian,
  int4,
  type Kernels,
  perGroup,
  type Statistics,
  scheme,
  tensor,
} from '@q/core';
import { gptq, paperOptions } from '@q/gptq';

/**
 * GPTQ of an n by n layer of normal weights, 4 bits, groups of 128, act-order, from a Hessian of 2n inputs whose
 * columns are correlated and have different scales. The returned function solves the layer once.
 */
export async function solveLinear(n: number, kernels: Kernels, random = createRandom(1)): Promise<() => unknown> {
  const quantizer = gptq(paperOptions);
  const target = scheme({ format: int4, granularity: perGroup(128), zeroPoint: 'integer' });
  const x = new Float32Array(2 * n * n);
  const widths = Float32Array.from({ length: n }, () => random.uniform());
  for (let t = 0; t < 2 * n; t++) {
    const common = 0.5 * random.normal();
    for (let j = 0; j < n; j++) x[t * n + j] = random.normal() * widths[j] + common;
  }
  const state = hessian.create(n);
  await hessian.update(state, { x, tokens: 2 * n, width: n }, kernels);
  const weight = tensor(
    'f32',
    [n, n],
    Float32Array.from({ length: n * n }, () => random.normal()),
  );
  const statistics: Statistics = { get: <S>() => state as S, has: () => true };
  const context = createContext({ kernels });
  return () => quantizer.quantize(weight, statistics, target, context);
}
