import { createRandom, quantize, fitScales, schemes, tensor, weightedSearch, minMax, absMax, mseSearch, type Scheme, type ScaleFit } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
const threads = Number(process.argv[2] ?? 1);
const k = await createWasmKernels({ threads });
const r = createRandom(1);
const [rows, columns] = [512, 2048];
const data = Float32Array.from({ length: rows * columns }, () => 0.02 * r.normal());
const bf = new Uint32Array(data.buffer); for (let i = 0; i < bf.length; i++) bf[i] &= 0xffff0000;
const w = tensor('f32', [rows, columns], data);
const cases: [string, Scheme, ScaleFit][] = [
 ['int4 minmax', schemes.int4, minMax()],
 ['uint4 minmax', schemes.integer(4,{groupSize:128,zeroPoint:'integer'}), minMax()],
 ['int4 full', schemes.int4, absMax({range:'full'})],
 ['int4 sweep', schemes.int4, weightedSearch()],
 ['uint4 sweep', schemes.integer(4,{groupSize:128,zeroPoint:'integer'}), weightedSearch()],
 ['int8 sweep', schemes.int8, weightedSearch()],
 ['int4 mse', schemes.int4, mseSearch()],
 ['int8 mse', schemes.int8, mseSearch()],
 ['nf4 sweep', schemes.nf4, weightedSearch()],
];
for (const [name, s, fit] of cases) {
  const slow = /mse|int8/.test(name);
  const part = slow ? tensor('f32', [64, columns], data.subarray(0, 64 * columns)) : w;
  const time = (f: () => unknown) => { f(); let best = 1e9; for (let i = 0; i < 3; i++) { const t = process.cpuUsage().user; f(); best = Math.min(best, (process.cpuUsage().user - t) / 1e6); } return part.data.length / best / 1e6; };
  const a = quantize(part, s, { fit }); const b = quantize(part, s, { fit, grids: k.grids });
  const same = Buffer.compare(a.codes as any, b.codes as any) === 0 && Buffer.compare(Buffer.from(a.scales.buffer), Buffer.from(b.scales.buffer)) === 0;
  console.log(name.padEnd(14), 'same', same, 'js', time(() => fitScales(part, s, fit)).toFixed(2), 'wasm', time(() => fitScales(part, s, fit, undefined, k.grids)).toFixed(2), 'M/s cpu fit;  quantize js', time(() => quantize(part, s, { fitted: a })).toFixed(1), 'wasm', time(() => quantize(part, s, { fitted: a, grids: k.grids })).toFixed(1));
}
await k.dispose();
