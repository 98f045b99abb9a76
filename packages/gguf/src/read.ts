// The reader of files. It needs no file system, so it also works in browsers.
export { type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
export { readGgufTensor } from './read-tensor.js';
export { type GgufTensorType, ggufTensorTypeOf, ggufTensorTypes } from './tensor-type.js';
