// What packages of this repository share and nobody else should build on: it may change without a major version.
export { type LevelTable, levelTable } from './formats/level-table.js';
export { mirrorUpper } from './kernels/mirror-upper.js';
