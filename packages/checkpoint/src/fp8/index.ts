export { fp8Layout, fp8LayoutDeclaration } from './layout.js';
