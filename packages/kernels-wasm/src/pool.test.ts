import { Worker } from 'node:worker_threads';
import { createRandom } from '@q/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matmul } from './matmul.js';
import { createPool, type Pool } from './pool.js';

let pool: Pool;
beforeAll(async () => {
  pool = await createPool({ threads: 3, simd: 'auto' });
});
afterAll(() => pool.dispose());

/** Wakes sleeping threads all the time, as late notifications do on a busy machine. */
const disturber = `
const { buffer } = require('node:worker_threads').workerData;
const control = new Int32Array(buffer, 0, 64);
for (;;) Atomics.notify(control, 0);
`;

describe('the pool', () => {
  it('computes every tile once, whenever its threads are woken', async () => {
    const worker = new Worker(disturber, { eval: true, workerData: { buffer: pool.memory.buffer } });
    const random = createRandom('pool');
    const n = 160;
    const a = Float32Array.from({ length: n * n }, () => random.normal());
    const b = Float32Array.from({ length: n * n }, () => random.normal());
    const expected = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) expected[i * n + j] += a[i * n + k] * b[k * n + j];
    let worst = 0;
    const end = performance.now() + 1500;
    for (let round = 0; performance.now() < end || round < 200; round++) {
      // Another factor each round: what an earlier job left in the memory must not pass for the result.
      const factor = 1 + (round % 7);
      const scaled = a.map((x) => x * factor);
      // Long enough for the threads to fall asleep.
      for (const until = performance.now() + 0.3; performance.now() < until; );
      const product = matmul(pool, { a: scaled, b, m: n, n, k: n });
      for (let i = 0; i < product.length; i++) worst = Math.max(worst, Math.abs(product[i] / factor - expected[i]));
    }
    await worker.terminate();
    expect(worst).toBeLessThan(1e-4);
  });
});
