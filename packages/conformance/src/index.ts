export { architectureConformance } from './architecture.js';
export type { Check } from './conformance-case.js';
export * as bruteForce from './engines/brute-force.js';
export { type GradientConformanceCase, gradientConformance } from './engines/gradient-conformance.js';
export { type OpsConformanceCase, opsConformance, rotaryTable } from './engines/ops-conformance.js';
export { type BlockConformanceCase, blockConformance, longBlockConformance } from './kernels/block-conformance.js';
export { type GridConformanceCase, gridConformance } from './kernels/grid-conformance.js';
export type { ConformanceCase } from './kernels/kernel-case.js';
export { kernelConformance } from './kernels/kernel-conformance.js';
export {
  kvAttentionConformance,
  type LoadPacked,
  type PackedConformanceCase,
  packedErrorBounds,
  packedInt8Conformance,
  packedProductConformance,
} from './kernels/packed-conformance.js';
export { type StreamConformanceCase, streamConformance } from './kernels/stream-conformance.js';
export { layoutConformance, type TestedLayout } from './layout.js';
export { numberFormatConformance } from './number-format.js';
export { type QuantizerConformanceOptions, quantizerConformance } from './quantizer.js';
export { statisticConformance } from './statistic.js';
export { transformConformance } from './transform.js';
