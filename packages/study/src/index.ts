export { conclude } from './conclusion.js';
export {
  type Basin,
  type BasinOptions,
  basinRadius,
  type LineScan,
  type LossOf,
  linePlaces,
  type PlaneScan,
  scanLine,
  scanPlane,
} from './landscape.js';
export { createLayerMeter, type LayerErrors, type LayerMeter, type LayerMeterOptions } from './layer-meter.js';
export {
  type LocalGlobalOptions,
  localGlobalJobs,
  localGlobalMethods,
  type MethodSummary,
  type ModuleSensitivity,
  moduleSensitivities,
  summarize,
  type WidthSummary,
} from './local-global.js';
export { type RankCorrelation, rankCorrelation, spearman } from './rank-correlation.js';
export { type RunStudyOptions, runStudy, type StudyStore } from './run-study.js';
export { studyCsv } from './study-csv.js';
export type { StudyJob, StudyMethod, StudyResult } from './study-job.js';
export { combine, distance, randomPoint, type WeightPoint } from './weight-point.js';
