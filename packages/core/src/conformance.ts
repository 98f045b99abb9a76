export { type ConformanceCase, kernelConformance } from './kernels/conformance.js';
export * as bruteForce from './ops/brute-force.js';
export { type OpsConformanceCase, opsConformance, rotaryTable } from './ops/conformance.js';
