export { plainLayout } from './layout.js';
