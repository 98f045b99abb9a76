export { type GgufFilePlan, type PlannedGgufTensor, planGgufFile } from './file-plan.js';
export { createGgufWriter, type GgufWriter } from './file-writer.js';
export { type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
export { type GgufMix, type MixPlace, q4_K_M, q4_K_S, q5_K_M, q5_K_S } from './mix.js';
export { readGgufTensor } from './read-tensor.js';
export { type RequantizeRun, requantize } from './requantize.js';
export {
  type OutputChoice,
  planRequantize,
  type RequantizedTensor,
  type RequantizeOptions,
  type RequantizePlan,
} from './requantize-plan.js';
export { type GgufTensorType, ggufTensorTypeFor, ggufTensorTypeOf, ggufTensorTypes } from './tensor-type.js';
