/** `[rows, columns]` with column j taken from `permutation[j]`. */
export function permuteColumns<A extends Float32Array | Float64Array>(x: A, rows: number, permutation: Int32Array): A {
  const columns = permutation.length;
  const out = x.slice() as A;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) out[row * columns + j] = x[row * columns + permutation[j]];
  }
  return out;
}

/** Inverse of {@link permuteColumns}. */
export function restoreColumns<A extends Float32Array | Uint8Array>(x: A, rows: number, permutation: Int32Array): A {
  const columns = permutation.length;
  const out = x.slice() as A;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) out[row * columns + permutation[j]] = x[row * columns + j];
  }
  return out;
}
