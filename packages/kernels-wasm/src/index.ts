export type { SimdLevel } from './simd.js';
export { createWasmKernels, type WasmKernelOptions } from './wasm-kernels.js';
