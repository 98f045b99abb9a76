export { plainLayout, plainLayoutDeclaration } from './layout.js';
