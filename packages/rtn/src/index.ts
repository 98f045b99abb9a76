export * from './rtn.js';
