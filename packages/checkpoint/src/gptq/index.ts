export { type GptqLayoutOptions, gptqLayout, gptqLayoutDeclaration } from './layout.js';
