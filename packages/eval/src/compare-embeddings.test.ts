import { createRandom } from '@q/core';
import { describe, expect, it } from 'vitest';
import { compareClasses } from './compare-classes.js';
import { compareEmbeddings, pearson, spearman } from './compare-embeddings.js';

const random = createRandom('embeddings');
const [count, width] = [25, 6];
const vectors = (values: readonly (readonly number[])[]) => ({
  values: Float32Array.from(values.flat()),
  count: values.length,
  width: values[0].length,
});
const rows = Array.from({ length: count }, () => Array.from({ length: width }, () => random.normal()));
const moved = rows.map((row) => row.map((x) => x + 0.3 * random.normal()));
const cosine = (a: readonly number[], b: readonly number[]) => {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};
/** By the definition for ranks without ties: 1 - 6 sum d^2 / (n (n^2 - 1)). */
function spearmanOfDistinct(a: readonly number[], b: readonly number[]): number {
  const rank = (values: readonly number[], x: number) => values.filter((value) => value < x).length;
  const n = a.length;
  const squares = a.reduce((sum, x, i) => sum + (rank(a, x) - rank(b, b[i])) ** 2, 0);
  return 1 - (6 * squares) / (n * (n * n - 1));
}

describe('compareEmbeddings', () => {
  it('is what the definitions say', () => {
    const f32 = (values: readonly (readonly number[])[]) => values.map((row) => row.map(Math.fround));
    const [a, b] = [f32(moved), f32(rows)];
    const found = compareEmbeddings(vectors(moved), vectors(rows));
    const cosines = a.map((row, i) => cosine(row, b[i]));
    expect(found.cosine.mean).toBeCloseTo(cosines.reduce((sum, x) => sum + x, 0) / count, 10);
    expect(found.cosine.min).toBeCloseTo(Math.min(...cosines), 10);
    const pairs = (all: readonly (readonly number[])[]) =>
      all.flatMap((x, i) => all.slice(i + 1).map((y) => cosine(x, y)));
    expect(found.similaritySpearman).toBeCloseTo(spearmanOfDistinct(pairs(a), pairs(b)), 10);
    const nearest = (all: readonly (readonly number[])[], i: number) =>
      [...all.keys()]
        .filter((j) => j !== i)
        .sort((j, k) => cosine(all[i], all[k]) - cosine(all[i], all[j]))
        .slice(0, 10);
    const shares = a.map((_, i) => nearest(a, i).filter((j) => nearest(b, i).includes(j)).length / 10);
    expect(found.recallAt10).toBeCloseTo(shares.reduce((sum, x) => sum + x, 0) / count, 12);
    expect(found.texts).toBe(count);
  });

  it('is 1 for the same vectors at another length, and refuses others', () => {
    const doubled = compareEmbeddings(vectors(rows.map((row) => row.map((x) => 2 * x))), vectors(rows));
    expect(doubled.cosine.min).toBeCloseTo(1, 12);
    expect(doubled.recallAt10).toBe(1);
    expect(() => compareEmbeddings(vectors(rows), vectors(rows.slice(1)))).toThrow('cannot be compared');
    expect(() => compareEmbeddings(vectors([rows[0]]), vectors([rows[0]]))).toThrow('at least 2 texts');
  });
});

describe('correlations', () => {
  it('share the ranks of equal values, as scipy.stats does', () => {
    // scipy.stats.spearmanr([1, 2, 2, 3], [1, 3, 2, 4]) = 0.9486832980505138
    expect(spearman([1, 2, 2, 3], [1, 3, 2, 4])).toBeCloseTo(0.9486832980505138, 12);
    expect(pearson([1, 2, 3, 4], [2, 4, 6, 9])).toBeCloseTo(0.9943767126843689, 12);
    expect(spearman([1, 1], [1, 1])).toBe(1);
  });
});

describe('compareClasses', () => {
  it('counts equal classes and the mean KL of their probabilities', () => {
    const [p, q] = [
      [0.5, 0.3, 0.2],
      [0.2, 0.7, 0.1],
    ];
    const logs = (values: readonly number[]) => values.map((value) => 3 + Math.log(value));
    const found = compareClasses(vectors([logs(q), logs(p)]), vectors([logs(p), logs(p)]));
    expect(found.agreement).toBe(0.5);
    const kl = p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]), 0);
    expect(found.kl).toBeCloseTo(kl / 2, 6);
    expect(found.scoreCorrelation).toBeUndefined();
  });
});
