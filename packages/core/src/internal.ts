// Shared by the packages of this repository and not public: it may change without a major version.
export { type LevelTable, levelTable } from './formats/level-table.js';
export { mirrorUpper } from './kernels/mirror-upper.js';
