export * from './int8-linears.js';
