export * from './levels.js';
export { smoothingScales } from './smoothing-scales.js';
export * from './smoothquant.js';
