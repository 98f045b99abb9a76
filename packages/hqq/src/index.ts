export { type HqqOptions, hqq, hqqMethod } from './hqq.js';
