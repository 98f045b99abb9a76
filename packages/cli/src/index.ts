export { main } from './main.js';
export { parseRecipeText } from './recipe-text.js';
export { reportHtml } from './report/report-html.js';
export type { Streams } from './terminal.js';
