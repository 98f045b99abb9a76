/**
 * Buckets of relative positions, as in T5 (arXiv 1910.10683, section 2.1): half of them for keys after the query, half
 * for those before it. Near positions have a bucket each, and farther ones share buckets of logarithmic widths.
 * @returns `[length, length]`, query by key
 */
export function relativePositionBuckets(length: number, buckets: number, maxDistance: number): Int32Array {
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const scale = Math.fround(Math.log(maxDistance / exact));
  const byDistance = Int32Array.from({ length }, (_, distance) => {
    if (distance < exact) return distance;
    // f32, as in PyTorch: rounding decides at the borders of buckets.
    const ratio = Math.fround(Math.fround(Math.log(Math.fround(distance / exact))) / scale);
    return Math.min(half - 1, exact + Math.trunc(Math.fround(ratio * (half - exact))));
  });
  const out = new Int32Array(length * length);
  for (let query = 0; query < length; query++)
    for (let key = 0; key < length; key++)
      out[query * length + key] = byDistance[Math.abs(key - query)]! + (key > query ? half : 0);
  return out;
}
