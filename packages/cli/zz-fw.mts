import { createForwardEngine } from '@q/kernels-wasm';

const e = await createForwardEngine({ threads: 1 });
const o = e.ops;
for (const [n, k] of [
  [256, 256],
  [688, 256],
  [256, 688],
]) {
  const m = 2048;
  const w = o.fromF32(
    Float32Array.from({ length: n * k }, () => Math.random() - 0.5),
    [n, k],
  );
  const xs = Array.from({ length: 16 }, () =>
    o.fromF32(
      Float32Array.from({ length: m * k }, () => Math.random() - 0.5),
      [8, 256, k],
    ),
  );
  const f = (i: number) => {
    const y = o.scope(() => o.linear(xs[i % 16], w));
    o.dispose(y);
  };
  for (let i = 0; i < 32; i++) f(i);
  let best = 1e9;
  for (let r = 0; r < 5; r++) {
    const c = process.cpuUsage();
    for (let i = 0; i < 32; i++) f(i);
    const d = process.cpuUsage(c);
    best = Math.min(best, (d.user + d.system) / 1e6 / 32);
  }
  console.log('linear', n, k, ((2 * m * n * k) / best / 1e9).toFixed(1));
}
{
  const q = o.fromF32(
      Float32Array.from({ length: 2048 * 256 }, () => Math.random() - 0.5),
      [8, 256, 256],
    ),
    k = o.fromF32(
      Float32Array.from({ length: 2048 * 128 }, () => Math.random() - 0.5),
      [8, 256, 128],
    );
  const f = () => o.dispose(o.attention({ q, k, v: k, heads: 8, kvHeads: 4, headDim: 32, scale: 0.17 }));
  f();
  f();
  let best = 1e9;
  for (let r = 0; r < 9; r++) {
    const c = process.cpuUsage();
    for (let i = 0; i < 8; i++) f();
    const d = process.cpuUsage(c);
    best = Math.min(best, (d.user + d.system) / 1e6 / 8);
  }
  console.log('attention ms', best * 1e3, ((((8 * 8 * 256 * 257) / 2) * 32 * 4) / best / 1e9).toFixed(1));
}
await e.dispose();
