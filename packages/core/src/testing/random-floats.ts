import { createRandom } from '../random.js';

/**
 * Values that stress a number format: random f32 patterns (denormals, infinities, NaN among them), normal values of
 * every magnitude around the format's, the middles between its levels and their neighbours, and zeros of both signs.
 */
export function* stressValues(count: number, levels: readonly number[], seed = 1): Generator<number> {
  const random = createRandom(seed);
  const word = new Uint32Array(1);
  const single = new Float32Array(word.buffer);
  yield* [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e308, -1e308, 5e-324, -5e-324];
  const largest = Math.max(...levels.map(Math.abs));
  for (let i = 0; i < count; i++) {
    const kind = i % 4;
    if (kind === 0) {
      word[0] = random.integer(2 ** 32);
      yield single[0];
    } else if (kind === 1) yield random.normal() * largest * 2 ** -random.integer(24);
    else if (kind === 2) yield (random.uniform() * 2.4 - 1.2) * largest;
    else {
      const k = random.integer(levels.length - 1);
      const middle = (levels[k] + levels[k + 1]) / 2;
      yield middle + (random.integer(3) - 1) * Math.abs(middle) * 2 ** -52;
    }
  }
}
