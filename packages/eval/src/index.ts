export { divergenceFrom } from './divergence.js';
export * from './evaluate.js';
export * from './integer-execution.js';
export * from './layer-error.js';
export * from './logits-source.js';
