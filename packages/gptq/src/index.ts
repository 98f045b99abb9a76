export * from './column-order.js';
export * from './factorize.js';
export * from './gptq.js';
export * from './rounding-grid.js';
export * from './solve.js';
