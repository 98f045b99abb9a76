export { awqLayout } from './layout.js';
