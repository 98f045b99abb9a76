/**
 * Rotates the halves of the first `rotated` features of each head of rows `[first, last)`, and copies the other
 * features. The row's position is its index modulo `length`. `cosines` and `sines` are `[positions, rotated / 2]`.
 */
export function rotaryRows(x: usize, cosines: usize, sines: usize, out: usize, heads: usize, headDim: usize, rotated: usize, length: usize, first: usize, last: usize, worker: usize): void {
  const half = rotated / 2;
  for (let row = first; row < last; row++) {
    const table = (row % length) * half * 4;
    for (let head: usize = 0; head < heads; head++) {
      const low = (row * heads + head) * headDim * 4;
      const high = low + half * 4;
      let j: usize = 0;
      for (; j + 4 <= half; j += 4) {
        const a = v128.load(x + low + j * 4);
        const b = v128.load(x + high + j * 4);
        const c = v128.load(cosines + table + j * 4);
        const s = v128.load(sines + table + j * 4);
        v128.store(out + low + j * 4, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
        v128.store(out + high + j * 4, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
      }
      for (; j < half; j++) {
        const a = load<f32>(x + low + j * 4);
        const b = load<f32>(x + high + j * 4);
        const c = load<f32>(cosines + table + j * 4);
        const s = load<f32>(sines + table + j * 4);
        store<f32>(out + low + j * 4, a * c - b * s);
        store<f32>(out + high + j * 4, b * c + a * s);
      }
      if (rotated < headDim) memory.copy(out + low + rotated * 4, x + low + rotated * 4, (headDim - rotated) * 4);
    }
  }
}
