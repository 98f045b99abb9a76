export { BlockWalk, type BlockWalkOptions, type HostState, type SeeCache, type StagePart } from './block-walk.js';
export { type HostPart, memoryStates, type StateStore } from './state-store.js';
export { beginStep, blockStep, type Step, stageStep } from './steps.js';
export { type BlockPass, embedWindows, type ReadWeight, type Walks, walkBlocks } from './walk-blocks.js';
export { type WindowTokens, windowTokens } from './window-tokens.js';
