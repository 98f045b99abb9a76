import { createRandom, fitScales, schemes, tensor, weightedSearch, mseSearch, type Scheme, type ScaleFit } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
const k = await createWasmKernels({ threads: 1 });
const r = createRandom(1);
const [rows, columns] = [256, 2048];
const data = Float32Array.from({ length: rows * columns }, () => 0.02 * r.normal());
const w = tensor('f32', [rows, columns], data);
const cases: [string, Scheme, ScaleFit][] = [
 ['int4 sweep', schemes.int4, weightedSearch()],
 ['int8 sweep', schemes.int8, weightedSearch()],
 ['int4 mse', schemes.int4, mseSearch()],
];
for (const [name, s, fit] of cases) {
  const out: string[] = [];
  for (let i = 0; i < 8; i++) { const t = process.cpuUsage().user; fitScales(w, s, fit, undefined, k.grids); out.push((data.length / (process.cpuUsage().user - t)).toFixed(2)); }
  console.log(name, out.join(' '));
}
await k.dispose();
