export { type BlockConformanceCase, blockConformance, longBlockConformance } from './kernels/block-conformance.js';
export { kernelConformance } from './kernels/conformance.js';
export type { ConformanceCase } from './kernels/conformance-case.js';
export { type GridConformanceCase, gridConformance } from './kernels/grid-conformance.js';
export {
  kvAttentionConformance,
  type LoadPacked,
  type PackedConformanceCase,
  packedErrorBounds,
  packedInt8Conformance,
  packedProductConformance,
} from './kernels/packed-conformance.js';
export { type StreamConformanceCase, streamConformance } from './kernels/stream-conformance.js';
export * as bruteForce from './ops/brute-force.js';
export { type OpsConformanceCase, opsConformance, rotaryTable } from './ops/conformance.js';
export { type GradientConformanceCase, gradientConformance } from './ops/gradient-conformance.js';
