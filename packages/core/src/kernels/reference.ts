/**
 * The reference of every kernel: short, obviously right, f64 sums in index order. Faster packages are tested against it.
 * It has no threads and no state, so `dispose` has nothing to do.
 */
import type { Kernels } from '../contracts/kernels.js';
import { cholesky, triangularSolve } from './cholesky.js';
import { openDescent } from './descent.js';
import { gptqBlock } from './gptq-block.js';
import { hadamard } from './hadamard.js';
import { gram, matmul, matmulInt8 } from './matmul.js';
import { rowErrors } from './row-errors.js';
import { scoreLogits } from './score-logits.js';

export const referenceKernels: Kernels = {
  name: 'reference',
  threads: 1,
  matmul: async (args) => matmul(args),
  gram: async (args) => gram(args),
  cholesky: async (args) => cholesky(args),
  triangularSolve: async (args) => triangularSolve(args),
  gptqBlock: async (args) => gptqBlock(args),
  rowErrors: async (args) => rowErrors(args),
  openDescent,
  hadamard: async (args) => hadamard(args),
  matmulInt8: async (args) => matmulInt8(args),
  scoreLogits: async (args) => scoreLogits(args),
  sync: { matmul, matmulInt8 },
  dispose: async () => {},
};
