export { factorDiagonal, packPanel, solvePanelRow, updateTrailing } from './cholesky';
export { gptqRows } from './gptq-block';
export { hadamardRows } from './hadamard';
export { matmulTile, packA, packB } from './matmul';
export { int8Rows, widen } from './matmul-int8';
export { solveRows32, solveRows64 } from './triangular-solve';
