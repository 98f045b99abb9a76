export { createForwardEngine, type ForwardValue, type WasmForwardEngine } from './forward/forward-engine.js';
export type { SimdLevel } from './simd.js';
export { createWasmKernels, type WasmKernelOptions } from './wasm-kernels.js';
