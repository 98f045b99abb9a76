export { type Capabilities, capabilitiesOf } from './device/capabilities.js';
export { type Dispatch, type Gpu, type GpuOptions, openGpu, record } from './device/gpu.js';
export { createWebgpuKernels, type WebgpuKernelOptions } from './kernels/webgpu-kernels.js';
