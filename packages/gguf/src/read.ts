// The reader of files, which needs no file system: for browsers too.
export { type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
export { readGgufTensor } from './read-tensor.js';
export { type GgufTensorType, ggufTensorTypeOf, ggufTensorTypes } from './tensor-type.js';
