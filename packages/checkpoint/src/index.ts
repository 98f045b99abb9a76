export * from './awq/index.js';
export * from './bitsandbytes-int8/index.js';
export * from './checkpoint.js';
export * from './compressed-tensors-int8/index.js';
export * from './gptq/index.js';
export * from './layout.js';
export * from './plain/index.js';
export * from './writer.js';
