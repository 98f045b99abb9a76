import { createWasmKernels } from '@q/kernels-wasm';

const [simd, threads] = [process.argv[2] as any, +process.argv[3]];
const k1 = await createWasmKernels({ threads, simd });
for (const [m, n, k, tb] of [
  [1024, 1024, 1024, 0],
  [512, 512, 512, 0],
  [2048, 256, 256, 1],
  [2048, 688, 256, 1],
  [2048, 256, 688, 1],
  [2048, 192, 192, 1],
  [256, 256, 32, 1],
  [256, 32, 256, 0],
] as any) {
  const a = Float32Array.from({ length: m * k }, () => Math.random() - 0.5),
    b = Float32Array.from({ length: n * k }, () => Math.random() - 0.5),
    out = new Float32Array(m * n);
  const f = () => k1.sync!.matmul({ a, b, m, n, k, transposeB: !!tb, out });
  f();
  f();
  const reps = Math.max(3, Math.ceil(4e9 / (2 * m * n * k)));
  let best = 1e9;
  for (let r = 0; r < 5; r++) {
    const c = process.cpuUsage();
    const t = performance.now();
    for (let i = 0; i < reps; i++) f();
    const d = process.cpuUsage(c);
    const dt = threads === 1 ? (d.user + d.system) / 1e6 : (performance.now() - t) / 1000;
    best = Math.min(best, dt / reps);
  }
  console.log(simd, threads, m, n, k, tb, ((2 * m * n * k) / best / 1e9).toFixed(1), 'GFLOP/s');
}
for (const [t, w] of [
  [2048, 256],
  [2048, 688],
  [2048, 1024],
]) {
  const x = Float32Array.from({ length: t * w }, () => Math.random() - 0.5),
    out = new Float64Array(w * w);
  await k1.gram({ x, tokens: t, width: w, out });
  let best = 1e9;
  for (let r = 0; r < 5; r++) {
    const c = process.cpuUsage();
    const t0 = performance.now();
    await k1.gram({ x, tokens: t, width: w, out });
    const d = process.cpuUsage(c);
    best = Math.min(best, threads === 1 ? (d.user + d.system) / 1e6 : (performance.now() - t0) / 1000);
  }
  console.log('gram', t, w, ((t * w * w) / best / 1e9).toFixed(1));
}
await k1.dispose();
