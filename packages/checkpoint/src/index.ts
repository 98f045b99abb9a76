export * from './checkpoint.js';
export * from './gptq/index.js';
export * from './layout.js';
export * from './writer.js';
