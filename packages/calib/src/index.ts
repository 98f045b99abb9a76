export * from './collector.js';
export * from './documents.js';
export * from './self-generated.js';
export * from './sequences.js';
export * from './token-stream.js';
export * from './windows.js';
