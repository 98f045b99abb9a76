export type { EngineOptions, TfjsEngine } from './engine.js';
export type { Handle } from './handle.js';
export { createEngine } from './node-engine.js';
export type { BackendChoice } from './select-backend.js';
