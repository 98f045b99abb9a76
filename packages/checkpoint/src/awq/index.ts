export { awqLayout, awqLayoutDeclaration } from './layout.js';
