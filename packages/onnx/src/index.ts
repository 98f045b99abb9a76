export * from './export-model.js';
export * from './file/payload.js';
export * from './file/write-model.js';
export * from './folder/write-folder.js';
export * from './matrices/block-matrix.js';
export { floatMatrix } from './matrices/float-matrix.js';
export * from './matrices/matrix.js';
export * from './onnx-type.js';
export * from './proto/element-type.js';
