import { absMaxStat, hessian, hessianF32, meanAbs, referenceKernels } from '@q/core';
import { describe, expect, it } from 'vitest';
import { createCollector, noStatistics } from './collector.js';

const batch = (...x: number[]) => ({ x: Float32Array.from(x), tokens: x.length / 2, width: 2 });

describe('createCollector', () => {
  it('collects several statistics of one input, and merges', async () => {
    const a = createCollector([hessian, absMaxStat], 2, 'layer');
    const b = createCollector([hessian, absMaxStat], 2, 'layer');
    await a.update(batch(1, -2), referenceKernels);
    await b.update(batch(3, 0, 0, 1), referenceKernels);
    a.merge(b);
    expect(a.tokens).toBe(3);
    expect([...a.statistics.get(hessian).sum]).toEqual([10, -2, -2, 5]);
    expect([...a.statistics.get(absMaxStat).values]).toEqual([3, 2]);
    expect(() => a.statistics.get(meanAbs)).toThrow('layer: statistic meanAbs was not collected');
  });

  it('names the layer, feature and token of a NaN', async () => {
    const collector = createCollector([hessian], 2, 'mlp.down');
    await collector.update(batch(1, 1), referenceKernels);
    await expect(collector.update(batch(1, 1, 1, Number.NaN), referenceKernels)).rejects.toThrow(
      'mlp.down: input feature 1 of token 2 is NaN',
    );
    await expect(collector.update({ x: new Float32Array(3), tokens: 1, width: 3 }, referenceKernels)).rejects.toThrow(
      'has 2 features, a batch has 3',
    );
  });

  it('names them without a Hessian too, and squares that overflow', async () => {
    const plain = createCollector([absMaxStat], 2, 'q');
    await expect(plain.update(batch(Number.NEGATIVE_INFINITY, 1), referenceKernels)).rejects.toThrow(
      'q: input feature 0 of token 0 is -Infinity',
    );
    const squares = createCollector([hessianF32], 2, 'q');
    await expect(squares.update(batch(1, 1e30), referenceKernels)).rejects.toThrow('squares of its inputs overflow');
  });

  it('asks for the reference when a statistic is paired', async () => {
    const collector = createCollector([{ ...absMaxStat, name: 'paired', paired: true }], 2, 'q');
    await expect(collector.update(batch(1, 1), referenceKernels)).rejects.toThrow(
      "needs the unquantized model's inputs",
    );
  });

  it('data-free methods are told that there is nothing', () => {
    expect(() => noStatistics.get(hessian)).toThrow('no calibration data');
  });
});
