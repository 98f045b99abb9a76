export * from './column-order.js';
export * from './factorize.js';
export * from './gptq.js';
export * from './refine.js';
export * from './retarget.js';
export * from './rounding-grid.js';
export * from './solve.js';
