// Arranges inputs for the kernels of packed products: `together` tokens next to each other (missing ones are zero), in
// the order in which the codes of a word are used. The sum of the inputs of every chunk (a group or a part of one) is
// written in f32 too.

/**
 * f32 inputs of tiles `[first, last)`: `[in][together]`, and sums `[chunks][together]`. The inputs of a single token
 * are divided by a power of two, because a code at its position in a word is too large by this factor. The last code of
 * a word is shifted instead.
 */
export function arrangeFloats(
  x: usize, tokens: usize, k: usize, bits: usize, together: usize, groupSize: usize, chunkSize: usize, chunks: usize,
  to: usize, sums: usize, first: usize, last: usize, worker: usize,
): void {
  const lastPlace: usize = 32 / bits - 1;
  const inPlace = together == 1;
  for (let tile = first; tile < last; tile++) {
    for (let s: usize = 0; s < together; s++) {
      const token = tile * together + s;
      const row = x + token * k * 4;
      let at = sums + (tile * chunks * together + s) * 4;
      let i: usize = 0;
      while (i < k) {
        const groupEnd = min((i / groupSize + 1) * groupSize, k);
        const end = min(i + chunkSize, groupEnd);
        let sum: f64 = 0;
        for (; i < end; i++) {
          const value = token < tokens ? load<f32>(row + i * 4) : 0;
          sum += value;
          const place = i & lastPlace;
          const scaled = inPlace && place != lastPlace ? value * reinterpret<f32>((127 - <u32>(bits * place)) << 23) : value;
          store<f32>(to + ((tile * k + i) * together + s) * 4, scaled);
        }
        store<f32>(at, <f32>sum);
        at += together * 4;
      }
    }
  }
}

/**
 * int8 inputs of tiles `[first, last)`: `[words][planes][together][4]`; plane j of a word has its codes j, j + planes,
 * ...
 */
export function arrangeBytes(
  x: usize, tokens: usize, k: usize, bits: usize, together: usize, groupSize: usize, groups: usize,
  to: usize, sums: usize, first: usize, last: usize, worker: usize,
): void {
  const planes: usize = 8 / bits;
  const perWord: usize = 32 / bits;
  for (let tile = first; tile < last; tile++) {
    for (let s: usize = 0; s < together; s++) {
      const token = tile * together + s;
      const row = x + token * k;
      for (let group: usize = 0; group < groups; group++) {
        const end = min((group + 1) * groupSize, k);
        let sum: i32 = 0;
        for (let i = group * groupSize; i < end; i += perWord) {
          let at = to + ((tile * k + i) * together + s * 4);
          for (let j: usize = 0; j < planes; j++) {
            for (let b: usize = 0; b < 4; b++) {
              const value = token < tokens ? <i32>load<i8>(row + i + b * planes + j) : 0;
              sum += value;
              store<i8>(at + b, <i8>value);
            }
            at += together * 4;
          }
        }
        store<f32>(sums + ((tile * groups + group) * together + s) * 4, <f32>sum);
      }
    }
  }
}
