export { type HqqOptions, hqq } from './hqq.js';
