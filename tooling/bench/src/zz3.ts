import { createRandom, fitScales, schemes, tensor, mseSearch, minMax } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
const k = await createWasmKernels({ threads: 1 });
const g = k.grids!;
let inK = 0, tried = 0, groups = 0;
const grids = { ...g, shrink(a: any) { const t = process.cpuUsage().user; g.shrink(a); inK += process.cpuUsage().user - t; const c = a.factors.length; for (let i = 0; i < a.scales.length; i++) { let m = Infinity; for (let j = 0; j < c; j++) m = Math.min(m, a.errors[i*c+j]); for (let j = 0; j < c; j++) if (a.errors[i*c+j] <= m * 1.0005) tried++; groups++; } } };
const r = createRandom(1);
const data = Float32Array.from({ length: 256 * 2048 }, () => 0.02 * r.normal());
const w = tensor('f32', [256, 2048], data);
for (const s of [schemes.int4, schemes.int8]) for (let i = 0; i < 3; i++) { inK = tried = groups = 0; const t = process.cpuUsage().user; fitScales(w, s, mseSearch(), undefined, grids); const all = process.cpuUsage().user - t; console.log('all ns/w', 1000 * all / data.length, 'kernel', 1000 * inK / data.length, 'tried per group', tried / groups); }
await k.dispose();
