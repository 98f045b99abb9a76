export { type BrowserEngineOptions, createEngine } from './browser-engine.js';
export type { EngineOptions, TfjsEngine } from './engine.js';
export type { Handle } from './handle.js';
export type { BackendChoice } from './select-backend.js';
