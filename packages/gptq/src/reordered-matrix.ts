/** A square matrix as f32, rows and columns in another order. */
export function reorderedMatrix(matrix: ArrayLike<number>, permutation: Int32Array): Float32Array {
  const n = permutation.length;
  const out = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const from = permutation[i] * n;
    for (let j = 0; j < n; j++) out[i * n + j] = matrix[from + permutation[j]];
  }
  return out;
}
