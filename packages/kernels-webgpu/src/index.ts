export type { KvAttentionArgs, KvLayout, PackedKv } from '@q/core';
export { gpuKvAttention } from './attention/kv-cache-attention.js';
export type { Buffers, HostArray } from './device/buffers.js';
export { type Capabilities, capabilitiesOf } from './device/capabilities.js';
export { type Dispatch, type Gpu, type GpuOptions, openGpu, type ReadableArray, record } from './device/gpu.js';
export { gpuShapes, processorShapes, type Shapes } from './device/shapes.js';
export { gpuMatmulBits, gpuMatmulSigns, gpuMatmulTernary } from './kernels/bitwise-matmul.js';
export { gpuQuantizeGroups, type QuantizeGroupsArgs } from './kernels/quantize-groups.js';
export { createWebgpuKernels, type WebgpuKernelOptions } from './kernels/webgpu-kernels.js';
export { type AffineWeight, affineWeight } from './linear/affine-weight.js';
export { type AwqWeight, awqWeight } from './linear/awq-weight.js';
export { type Float8Scales, type Float8Weight, float8Weight } from './linear/float8-weight.js';
export { type GgufWeight, ggufWeight } from './linear/gguf-weight.js';
export { type GptqWeight, gptqWeight } from './linear/gptq-weight.js';
export { createGpuLinear, type GpuLinear, type GpuLinearOptions } from './linear/gpu-linear.js';
export type { GpuWeight, WeightPart } from './linear/gpu-weight.js';
export { createInt8Linear, type GpuInt8Linear, type Int8LinearOptions } from './linear/int8-linear.js';
export {
  type BitsandbytesWeight,
  bitsandbytesWeight,
  type Float4Weight,
  mxfp4Weight,
  nvfp4Weight,
} from './linear/table-weight.js';
export type { ShuffleShape } from './wgsl/shuffle-product.js';
export type { TileShape } from './wgsl/tile-product.js';
export type { VectorShape } from './wgsl/vector-product.js';
