import { expect, it } from 'vitest';
import { createTokenSample } from './token-sample.js';

const numbers = (from: number, count: number) => Float32Array.from({ length: count }, (_, i) => from + i);

it('keeps evenly spaced tokens, the same however they come in batches', () => {
  for (const sizes of [[100], [1, 99], [7, 13, 80], Array(100).fill(1)]) {
    const sample = createTokenSample(8, 2);
    let seen = 0;
    for (const size of sizes) {
      const first = numbers(seen, size);
      sample.add([first, Float32Array.from({ length: 2 * size }, (_, i) => first[i >> 1] + (i % 2) / 2)], size);
      seen += size;
    }
    expect([sample.stride, sample.tokens]).toEqual([16, 7]);
    const [one, two] = sample.columns();
    expect([...one]).toEqual([0, 16, 32, 48, 64, 80, 96]);
    expect([...two]).toEqual([0, 16, 32, 48, 64, 80, 96].flatMap((token) => [token, token + 0.5]));
  }
});

it('goes on from what was restored, and never exceeds its limit when samples are merged', () => {
  const whole = createTokenSample(8, 1);
  whole.add([numbers(0, 200)], 200);
  const begun = createTokenSample(8, 1);
  begun.add([numbers(0, 90)], 90);
  const restored = createTokenSample(8, 1);
  restored.restore(begun.columns(), begun.tokens, begun.stride, 90);
  restored.add([numbers(90, 110)], 110);
  expect(restored.columns()).toEqual(whole.columns());
  restored.merge(whole);
  expect(restored.tokens).toBeLessThanOrEqual(8);
  expect(restored.tokens).toBeGreaterThan(4);
});
