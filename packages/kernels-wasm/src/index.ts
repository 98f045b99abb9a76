export { createForwardEngine, type ForwardValue, type WasmForwardEngine } from './forward/forward-engine.js';
export { createPackedKernels, type WasmPackedKernels } from './packed/packed-kernels.js';
export type { SimdLevel } from './simd.js';
export { createTrainingEngine, type WasmTrainingEngine } from './training/training-engine.js';
export { createWasmKernels, type WasmKernelOptions } from './wasm-kernels.js';
