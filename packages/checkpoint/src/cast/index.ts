export {
  auditCast,
  type CastOptions,
  type CastPlan,
  type LossyTensor,
  planCast,
  writeCast,
} from './cast-checkpoint.js';
export { type CastDtype, castDtypes } from './cast-config.js';
export type { LostValues } from './cast-values.js';
