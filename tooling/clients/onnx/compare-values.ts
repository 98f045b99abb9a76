/** Mean KL divergence of the rows' distributions, in nats. Rows have `width` logits. */
export function divergence(reference: Float32Array, actual: Float32Array, width: number): number {
  let sum = 0;
  const rows = reference.length / width;
  for (let row = 0; row < rows; row++) {
    const [p, q] = [reference, actual].map((all) => logShares(all.subarray(row * width, (row + 1) * width)));
    for (let i = 0; i < width; i++) sum += Math.exp(p[i]) * (p[i] - q[i]);
  }
  return sum / rows;
}

function logShares(values: Float32Array): Float64Array {
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const total = Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0)) + most;
  return Float64Array.from(values, (value) => value - total);
}

/** Largest difference, as a share of the largest value of the reference. */
export function largestShare(reference: Float32Array, actual: Float32Array): number {
  const largest = reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return reference.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i])), 0) / largest;
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let [product, left, right] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i];
    left += a[i] ** 2;
    right += b[i] ** 2;
  }
  return product / Math.sqrt(left * right);
}
