/**
 * Multiplies each head by the Hadamard matrix over `sqrt(headDim)`. It is orthogonal and its own inverse, so products
 * of rotated queries and keys equal those of the plain ones.
 * @param values `[..., headDim]`, a power of 2; unchanged
 */
export function rotateHeads(values: Float32Array, headDim: number): Float32Array {
  const out = Float64Array.from(values);
  for (let start = 0; start < out.length; start += headDim)
    for (let half = 1; half < headDim; half *= 2)
      for (let i = 0; i < headDim; i++)
        if ((i & half) === 0) {
          const [a, b] = [out[start + i], out[start + i + half]];
          out[start + i] = a + b;
          out[start + i + half] = a - b;
        }
  const scale = 1 / Math.sqrt(headDim);
  return Float32Array.from(out, (value) => value * scale);
}
