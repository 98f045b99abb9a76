export * from './choose-within-budget.js';
export * from './estimate-sensitivity.js';
export * from './measure-sensitivity.js';
export * from './option.js';
export type { SensitivityUnit } from './sensitivity-unit.js';
