export * from './llm-int8.js';
export { type MixedLinearsOptions, type MixedModule, mixedLinears } from './mixed-linears.js';
export * from './mixed-product.js';
export { outlierColumns } from './outlier-columns.js';
