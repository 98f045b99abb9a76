export * from './llm-int8.js';
