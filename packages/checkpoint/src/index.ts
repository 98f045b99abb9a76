export * from './awq/index.js';
export * from './checkpoint.js';
export * from './gptq/index.js';
export * from './layout.js';
export * from './plain/index.js';
export * from './writer.js';
