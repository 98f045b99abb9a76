// Kernel sets and engines have their batteries beside the definitions that they are compared with.
export * from '@q/core/conformance';
export { architectureConformance } from './architecture.js';
export type { Check } from './conformance-case.js';
export { layoutConformance } from './layout.js';
export { numberFormatConformance } from './number-format.js';
export { type QuantizerConformanceOptions, quantizerConformance } from './quantizer.js';
export { statisticConformance } from './statistic.js';
export { transformConformance } from './transform.js';
