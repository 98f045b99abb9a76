export { type GptqLayoutOptions, gptqLayout } from './layout.js';
