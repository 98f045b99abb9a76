export { type GgufFilePlan, type PlannedGgufTensor, planGgufFile } from './file-plan.js';
export { createGgufWriter, type GgufWriter } from './file-writer.js';
export { type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
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
