/** The mean of arrays of `length` values, summed in their order in f64: every worker gets the same bits. */
export function meanOf(arrays: readonly Float32Array[], length: number): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const mean = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (const values of arrays) sum += values[i];
    mean[i] = sum / arrays.length;
  }
  return mean;
}
