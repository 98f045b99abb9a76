/**
 * Orthonormal Walsh-Hadamard transform of the chunks `[first, last)` of `size` values. Sums are in the order of the
 * reference.
 */
export function hadamardRows(x: usize, size: usize, norm: f32, first: usize, last: usize, worker: usize): void {
  for (let chunk = first; chunk < last; chunk++) {
    const base = x + chunk * size * 4;
    for (let half: usize = 1; half < size; half *= 2) {
      for (let i: usize = 0; i < size; i += 2 * half) {
        let j: usize = 0;
        for (; j + 4 <= half; j += 4) {
          const low = base + (i + j) * 4;
          const high = low + half * 4;
          const a = v128.load(low);
          const b = v128.load(high);
          v128.store(low, f32x4.add(a, b));
          v128.store(high, f32x4.sub(a, b));
        }
        for (; j < half; j++) {
          const low = base + (i + j) * 4;
          const high = low + half * 4;
          const a = load<f32>(low);
          const b = load<f32>(high);
          store<f32>(low, a + b);
          store<f32>(high, a - b);
        }
      }
    }
    for (let i: usize = 0; i < size; i++) store<f32>(base + i * 4, load<f32>(base + i * 4) * norm);
  }
}
