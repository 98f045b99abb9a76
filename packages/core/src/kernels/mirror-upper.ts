/** Copies the upper triangle of `matrix` `[n, n]` to the lower one, in squares that fit the first-level cache. */
export function mirrorUpper(matrix: Float32Array | Float64Array, n: number): void {
  const side = 32;
  for (let top = 0; top < n; top += side)
    for (let left = 0; left <= top; left += side)
      for (let i = top; i < Math.min(top + side, n); i++)
        for (let j = left; j < Math.min(left + side, i); j++) matrix[i * n + j] = matrix[j * n + i];
}
