export * from './byte-source.js';
export * from './file-dtype.js';
export * from './header.js';
export * from './read-tensor.js';
export * from './shard-plan.js';
export * from './shard-reader.js';
export * from './shard-writer.js';
export * from './single-file.js';
export { WriteError, writeError } from './write-error.js';
