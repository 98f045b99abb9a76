// One function a kind of array: V8 compiles a loop that has met several kinds to code that is half as fast.

/** `[rows, columns]` with column j taken from `permutation[j]`. */
export function permuteColumns(x: Float32Array, rows: number, permutation: Int32Array): Float32Array {
  const columns = permutation.length;
  const out = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + j] = x[start + permutation[j]];
  }
  return out;
}

/** {@link permuteColumns} of sums in f64. */
export function permuteSums(x: Float64Array, rows: number, permutation: Int32Array): Float64Array {
  const columns = permutation.length;
  const out = new Float64Array(x.length);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + j] = x[start + permutation[j]];
  }
  return out;
}

/** Inverse of {@link permuteColumns}. */
export function restoreColumns(x: Float32Array, rows: number, permutation: Int32Array): Float32Array {
  const columns = permutation.length;
  const out = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + permutation[j]] = x[start + j];
  }
  return out;
}

/** Codes, put back into the order of the file. */
export function restoreCodes(x: Uint8Array, rows: number, permutation: Int32Array): Uint8Array {
  const columns = permutation.length;
  const out = new Uint8Array(x.length);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + permutation[j]] = x[start + j];
  }
  return out;
}
