/**
 * Computes products while another thread wakes the sleeping ones all the time, as late notifications do on a busy
 * machine. It prints the largest error compared with sums in f64. It is a separate program because a thread that takes
 * part in the wrong job can make the others wait for ever.
 */
import { Worker } from 'node:worker_threads';
import { createRandom } from '@q/core';
import { matmul } from '../matmul.js';
import { createPool } from '../pool.js';

const n = 160;
const milliseconds = 1500;
const pool = await createPool({ threads: 3, simd: 'auto' });
const worker = new Worker(
  `const { buffer } = require('node:worker_threads').workerData;
   const control = new Int32Array(buffer, 0, 64);
   for (;;) Atomics.notify(control, 0);`,
  { eval: true, workerData: { buffer: pool.memory.buffer } },
);
const random = createRandom('pool');
const normals = () => Float32Array.from({ length: n * n }, () => random.normal());
const [a, b] = [normals(), normals()];
const expected = new Float64Array(n * n);
for (let i = 0; i < n; i++)
  for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) expected[i * n + j] += a[i * n + k] * b[k * n + j];

let worst = 0;
const end = performance.now() + milliseconds;
for (let round = 0; performance.now() < end; round++) {
  // Each round has another factor, so values that an earlier job left in the memory differ from the result.
  const factor = 1 + (round % 7);
  const scaled = a.map((x) => x * factor);
  // This is long enough for the threads to fall asleep.
  for (const until = performance.now() + 0.3; performance.now() < until; );
  const product = matmul(pool, { a: scaled, b, m: n, n, k: n });
  for (let i = 0; i < product.length; i++) worst = Math.max(worst, Math.abs(product[i] / factor - expected[i]));
}
await worker.terminate();
await pool.dispose();
console.log(worst);
