import { describe, expect, it } from 'vitest';
import { largeModels, weightsOf } from './distributed-shapes.js';
import { simulateRun } from './simulate-run.js';
import { simulateWorkers } from './simulate-workers.js';

const jobs = Array.from({ length: 12 }, () => ({ read: 100, seconds: 3, write: 50 }));
const unlimited = Number.POSITIVE_INFINITY;

describe('simulated workers', () => {
  it('one of them takes the sum of all, and links without limit leave the computing', () => {
    expect(simulateWorkers(jobs, { workers: 1, link: 50, store: unlimited }).seconds).toBeCloseTo(12 * (2 + 3 + 1), 6);
    const free = simulateWorkers(jobs, { workers: 4, link: 1e12, store: unlimited });
    expect(free.seconds).toBeCloseTo(9, 6);
    expect(free.idle).toBeCloseTo(0, 6);
  });

  it('a store with one link is what many workers wait for', () => {
    const run = simulateWorkers(jobs, { workers: 12, link: 50, store: 50 });
    // All read at once, compute at once, write at once: 12 x 150 bytes at 50 a second, and the computing between.
    expect(run.seconds).toBeCloseTo((12 * 150) / 50 + 3, 6);
    expect(run.moving + run.computing + run.idle).toBeCloseTo(12 * run.seconds, 6);
  });

  it('more workers than jobs do nothing', () => {
    const run = simulateWorkers(jobs.slice(0, 2), { workers: 8, link: 100, store: unlimited });
    expect(run.seconds).toBeCloseTo(4.5, 6);
    expect(run.idle).toBeCloseTo(6 * 4.5, 6);
  });
});

describe('runs of large models', () => {
  it('have the weights that their names say', () => {
    const billions = largeModels.map((model) => (weightsOf(model) + model.copied) / 1e9);
    // 70.6 and 671.0 are published; norms and routers are not counted here.
    expect(billions[0]).toBeCloseTo(70.6, 0);
    expect(Math.abs(billions[1] - 671)).toBeLessThan(1);
  });

  it('are never faster than their slowest part, and more workers never slow a data-free run', () => {
    const costs = { forward: 0.1, gram: 0.1, factor: 0.1, sweep: 1, round: 1, hash: 1e-9 };
    for (const model of largeModels) {
      const [few, many] = [8, 64].map((workers) =>
        simulateRun(model, costs, { workers, cores: 8, gigabits: 10, store: 'bucket' }),
      );
      expect(many.total).toBeLessThan(few.total);
      expect(few.stages.map(({ seconds }) => seconds).reduce((a, b) => a + b, 0)).toBeCloseTo(few.total, 6);
      const compute = (weightsOf(model) / 1e6) * (costs.round / 8 / 8);
      expect(few.total).toBeGreaterThan(compute);
    }
  });
});
