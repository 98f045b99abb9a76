import { NumericError, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { createSampler, mostLikely } from './sampler.js';

const probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
const logits = Float32Array.from(probabilities, (p) => Math.log(p) + 7);

function shares(options: Parameters<typeof createSampler>[0], draws = 20000): number[] {
  const sample = createSampler(options);
  const counts = probabilities.map(() => 0);
  for (let i = 0; i < draws; i++) counts[sample(logits)]!++;
  return counts.map((count) => count / draws);
}

/** Five standard deviations of a share of 20000 draws. */
const near = (found: readonly number[], expected: readonly number[]) => {
  for (const [i, p] of expected.entries())
    expect(Math.abs(found[i]! - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / 20000));
};

describe('sampling', () => {
  it('draws by the probabilities', () => near(shares({ seed: 3 }), probabilities));

  it('divides the logits by the temperature', () => {
    const squares = probabilities.map((p) => p * p);
    const total = squares.reduce((a, b) => a + b);
    near(
      shares({ temperature: 0.5 }),
      squares.map((square) => square / total),
    );
  });

  it('keeps the most likely tokens', () => near(shares({ topK: 2 }), [0, 4 / 7, 0, 3 / 7, 0]));

  it('keeps the fewest tokens that reach the share', () => {
    near(shares({ topP: 0.69 }), [0, 4 / 7, 0, 3 / 7, 0]);
    near(shares({ topP: 0.71 }), [0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85]);
    near(shares({ topP: 0.01 }), [0, 1, 0, 0, 0]);
  });

  it('gives the same tokens for the same seed, and others for another', () => {
    const draw = (seed: number) => {
      const sample = createSampler({ seed });
      return Array.from({ length: 50 }, () => sample(logits));
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  it('takes the lower id of equal logits at temperature 0', () => {
    expect(createSampler({ temperature: 0 })(Float32Array.of(1, 3, 3))).toBe(1);
    expect(mostLikely(logits)).toBe(1);
  });

  it('refuses logits that are not finite and options out of range', () => {
    expect(() => mostLikely(Float32Array.of(Number.NaN, 1))).toThrow(NumericError);
    expect(() => createSampler()(Float32Array.of(1, Number.NaN))).toThrow(NumericError);
    for (const options of [{ temperature: -1 }, { temperature: Number.NaN }, { topK: 0 }, { topP: 0 }, { topP: 1.1 }])
      expect(() => createSampler(options)).toThrow(SchemeError);
  });
});
