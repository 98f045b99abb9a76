export { q4_1, q5_1 } from './blocks/affine-block.js';
export { q2_K, q4_K, q5_K } from './blocks/affine-super-block.js';
export { bf16Block, f16Block, f32Block } from './blocks/float-blocks.js';
export { iq4_NL, iq4_XS } from './blocks/iq4.js';
export { mxfp4 } from './blocks/mxfp4.js';
export { q3_K } from './blocks/q3-k.js';
export { q6_K } from './blocks/q6-k.js';
export { q8_0 } from './blocks/q8-0.js';
export { q4_0, q5_0 } from './blocks/symmetric-block.js';
export { tq1_0, tq2_0 } from './blocks/ternary-blocks.js';
export type {
  ConversionSource,
  ConvertedModel,
  GgufArchitecture,
  ModelTensor,
  Pooling,
  TokenizerDefaults,
  TokenizerFiles,
} from './convert/conversion.js';
export { type ConvertOptions, convertModel, ggufArchitectures } from './convert/convert-model.js';
export { planModel } from './convert/plan-model.js';
export { type FileModel, readFileModel } from './convert/read-model.js';
export { hasLinearCodes, quantizedInFile, rowsInFile, type StoredRows } from './convert/rows-in-file.js';
export type { StoredTokenizerFiles } from './convert/tokenizer/stored/tokenizer-json.js';
export { type EncodedTensor, encodeTensor, type WriteModelRun, writeModel } from './convert/write-model.js';
export { type GgufFilePlan, type PlannedGgufTensor, planGgufFile } from './file-plan.js';
export { createGgufWriter, type GgufWriter } from './file-writer.js';
export { alignedLength, defaultAlignment, type GgufHeader, type GgufTensor, readGgufHeader } from './header.js';
export {
  type ImportanceData,
  type ImportanceMatrix,
  importanceMatrix,
  planImportanceFile,
  readImportance,
  writeImportance,
} from './importance-matrix.js';
export { LostTensorError } from './lost-tensor.js';
export type { GgufMetadata, GgufNumberType, GgufScalar, GgufScalarType, GgufValue } from './metadata.js';
export {
  type GgufMix,
  iq4_NL_M,
  iq4_XS_M,
  type MixPlace,
  mxfp4Moe,
  q2_K_M,
  q2_K_S,
  q3_K_L,
  q3_K_M,
  q3_K_S,
  q4_K_M,
  q4_K_S,
  q5_K_M,
  q5_K_S,
  tq1_0_M,
  tq2_0_M,
} from './mix.js';
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
export { describeUnfitRows } from './unfit-rows.js';
