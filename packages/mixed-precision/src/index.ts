export * from './choose-within-budget.js';
export * from './measure-sensitivity.js';
export * from './option.js';
