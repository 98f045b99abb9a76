export type { LargestCached } from './blocks/cache-ranges.js';
export { defaultExpertTokens } from './blocks/round-expert.js';
export { checkpointSensitivity, type SensitivityRun, sensitivityName } from './blocks/sensitivity.js';
export { type TransformInput, transformInputs } from './blocks/transform-block.js';
export { type LinearWalk, type VisitedLinear, walkLinears } from './blocks/walk-linears.js';
export * from './plan/budget.js';
export * from './plan/forecast.js';
export { rewriteModel } from './plan/model-source.js';
export * from './plan/plan.js';
export type { RowGroup } from './plan/row-groups.js';
export * from './recipe/file/index.js';
export * from './recipe/recipe.js';
export * from './report/expert-coverage.js';
export * from './report/report.js';
export { InterruptedRunError } from './resume/interrupted-run.js';
export { type Journal, type JournalEntry, journalName } from './resume/journal.js';
export { checkOutputFolder, OutputFolderError } from './resume/output-folder.js';
export * from './resume/resumable-training.js';
export { type RunRecord, reportName } from './resume/run-record.js';
export { hashCheckpoint, hashWindows } from './resume/source-identity.js';
export { trainingName } from './resume/training-store.js';
export { type WrittenTextRun, writtenText, writtenTextName } from './resume/written-text.js';
export { type InputRequest, type InputStatistics, inputCollectors, requestedInput } from './run/collect-input.js';
export * from './run/remote-modules.js';
export type {
  RemoteWindows,
  StagePlace,
  WindowSettings,
  WrittenWeights,
} from './run/remote-windows.js';
export * from './run/run.js';
export * from './run/run-keeping.js';
export {
  type ShardPlace,
  type ShardStates,
  ShardWalks,
  type ShardWalksOptions,
  type WrittenNames,
} from './run/shard-walks.js';
export { trainAlong, type WorkerGroup } from './run/shared-training.js';
export type { CollectedInput, SolverInputs } from './run/solve-module.js';
