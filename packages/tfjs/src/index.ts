export { bf16Absence } from './bf16-products.js';
export type { EngineOptions, TfjsEngine } from './engine.js';
export type { Handle } from './handle.js';
export { nativeAbsence } from './load-node.js';
export {
  cacheFolder,
  findTfjsNode,
  type NativeLocation,
  type NativeSearch,
  readyFile,
  tfjsNodeFolder,
  tfjsNodeVersion,
} from './native-location.js';
export { createEngine, type NodeEngineOptions } from './node-engine.js';
export type { BackendChoice } from './select-backend.js';
