import { type Int8Input, type Int8Weight, ShapeError, type SyncKernels } from '@q/core';

/**
 * `y = (x int8) (w int8)^T`, summed exactly in i32, times both scales, plus the bias (SmoothQuant, eq. 2; LLM.int8(),
 * eq. 7). Each output is rounded to f32 once.
 * @param bias `[out]`
 * @returns `[tokens, out]`
 */
export function int8Linear(
  input: Int8Input,
  weight: Int8Weight,
  bias: Float32Array | undefined,
  kernels: SyncKernels,
): Float32Array {
  const { tokens, width } = input;
  const { outFeatures, inFeatures } = weight;
  if (width !== inFeatures) throw new ShapeError(`inputs of ${width} features do not fit a weight of ${inFeatures}`);
  if (bias && bias.length !== outFeatures)
    throw new ShapeError(`a bias of ${bias.length} values does not fit ${outFeatures} outputs`);
  const sums = kernels.matmulInt8({ a: input.codes, b: weight.codes, m: tokens, n: outFeatures, k: width });
  const columnScales =
    weight.scales.length === 1 ? new Float32Array(outFeatures).fill(weight.scales[0]) : weight.scales;
  const out = new Float32Array(sums.length);
  for (let token = 0, at = 0; token < tokens; token++) {
    const scale = input.scales.length === 1 ? input.scales[0] : input.scales[token];
    for (let j = 0; j < outFeatures; j++, at++) out[at] = sums[at] * (scale * columnScales[j]) + (bias ? bias[j] : 0);
  }
  return out;
}
