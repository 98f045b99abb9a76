import { createContext, createRandom, hessian, int4, perGroup, type Statistics, scheme, tensor } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
const n = Number(process.argv[2]);
const kernels = await createWasmKernels({ threads: Number(process.argv[3] ?? 1) });
const spent: Record<string, number> = {};
const timed: any = { ...kernels };
for (const name of ['matmul','gram','cholesky','triangularSolve','gptqBlock'] as const) {
  timed[name] = async (a: any) => { const t = performance.now(); const r = await (kernels as any)[name](a); spent[name] = (spent[name] ?? 0) + performance.now() - t; return r; };
}
const random = createRandom(1);
const x = new Float32Array(2 * n * n);
const widths = Float32Array.from({ length: n }, () => random.uniform());
for (let t = 0; t < 2 * n; t++) { const common = 0.5 * random.normal(); for (let j = 0; j < n; j++) x[t * n + j] = random.normal() * widths[j] + common; }
const state = hessian.create(n);
await hessian.update(state, { x, tokens: 2 * n, width: n }, kernels);
const weight = tensor('f32', [n, n], Float32Array.from({ length: n * n }, () => random.normal()));
const statistics: Statistics = { get: <S>() => state as S, has: () => true };
const context = createContext({ kernels: timed });
const target = scheme({ format: int4, granularity: perGroup(128), zeroPoint: 'integer' });
const quantizer = gptq(paperOptions);
for (let i = 0; i < 2; i++) { const t = performance.now(); for (const k in spent) spent[k] = 0; await quantizer.quantize(weight, statistics, target, context); const all = performance.now() - t; const rest = all - Object.values(spent).reduce((a, b) => a + b, 0); console.log(n, all.toFixed(0), JSON.stringify(Object.fromEntries(Object.entries({...spent, rest}).map(([k, v]) => [k, Math.round(v)])))); }
await kernels.dispose();
