/**
 * A copy of `x` `[rows, columns]` whose column j is column `permutation[j]`; `permutation` has 0..columns-1, each once.
 */
export function permuteColumns<A extends Float32Array | Float64Array | Uint8Array>(
  x: A,
  rows: number,
  permutation: Int32Array,
): A {
  const columns = permutation.length;
  const out = emptyLike(x);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + j] = x[start + permutation[j]];
  }
  return out;
}

/** Inverse of {@link permuteColumns}: column `permutation[j]` of the copy is column j. */
export function restoreColumns<A extends Float32Array | Uint8Array>(x: A, rows: number, permutation: Int32Array): A {
  const columns = permutation.length;
  const out = emptyLike(x);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let j = 0; j < columns; j++) out[start + permutation[j]] = x[start + j];
  }
  return out;
}

/** Every element is written later: allocating zeros is cheaper than a copy. */
function emptyLike<A extends Float32Array | Float64Array | Uint8Array>(x: A): A {
  return new (x.constructor as new (length: number) => A)(x.length);
}
