export * from './block-stream.js';
export * from './forecast.js';
export { type Journal, type JournalEntry, journalName } from './journal.js';
export * from './plan.js';
export * from './recipe.js';
export * from './report.js';
export * from './run.js';
export { calibrationBatch } from './run-calibrated.js';
export { trainingName } from './training-store.js';
