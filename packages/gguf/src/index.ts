export { q4_1, q5_1 } from './blocks/affine-block.js';
export { q4_K, q5_K } from './blocks/affine-super-block.js';
export { bf16Block, f16Block, f32Block } from './blocks/float-blocks.js';
export { q6_K } from './blocks/q6-k.js';
export { q8_0 } from './blocks/q8-0.js';
export { q4_0, q5_0 } from './blocks/symmetric-block.js';
export { type GgufFilePlan, type PlannedGgufTensor, planGgufFile } from './file-plan.js';
export { createGgufWriter, type GgufWriter } from './file-writer.js';
export { type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
export { type GgufMix, type MixPlace, q4_K_M, q4_K_S, q5_K_M, q5_K_S } from './mix.js';
export { readGgufTensor } from './read-tensor.js';
export { LostTensorError, type RequantizeRun, requantize } from './requantize.js';
export {
  type OutputChoice,
  planRequantize,
  type RequantizedTensor,
  type RequantizeOptions,
  type RequantizePlan,
} from './requantize-plan.js';
export { type GgufTensorType, ggufTensorTypeFor, ggufTensorTypeOf, ggufTensorTypes } from './tensor-type.js';
