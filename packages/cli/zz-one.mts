import { createWasmKernels } from '@q/kernels-wasm';

const k1 = await createWasmKernels({ threads: 1, simd: process.argv[2] as any });
const m = 512,
  n = 512,
  k = 512;
const a = Float32Array.from({ length: m * k }, () => Math.random() - 0.5),
  b = Float32Array.from({ length: n * k }, () => Math.random() - 0.5),
  out = new Float32Array(m * n);
for (let i = 0; i < 60; i++) k1.sync!.matmul({ a, b, m, n, k, out });
await new Promise((r) => setTimeout(r, 200));
const c = process.cpuUsage();
for (let i = 0; i < 60; i++) k1.sync!.matmul({ a, b, m, n, k, out });
const d = process.cpuUsage(c);
console.log(((60 * 2 * m * n * k) / d.user / 1e3).toFixed(1));
await k1.dispose();
