export { type ClassComparison, compareClasses } from './compare-classes.js';
export { compareEmbeddings, type EmbeddingComparison, pearson, spearman } from './compare-embeddings.js';
export { divergenceFrom } from './divergence.js';
export { classifySequences, embedSequences, type TextVectors } from './embed-sequences.js';
export * from './evaluate.js';
export * from './layer-error.js';
export * from './logits-source.js';
export type { WindowRunOptions } from './run-blocks.js';
export * from './verdict.js';
