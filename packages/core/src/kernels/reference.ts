/**
 * The reference of every kernel: short code with f64 sums in index order. Tests compare faster packages with it. It has
 * no threads and no state, so `dispose` does nothing.
 */
import type { Kernels } from '../contracts/kernels.js';
import { cholesky, triangularSolve } from './cholesky.js';
import { openDescent } from './descent.js';
import { eagerGrams } from './eager-grams.js';
import { gptqBlock } from './gptq-block.js';
import { hadamard } from './hadamard.js';
import { gram, matmul, matmulInt8 } from './matmul.js';
import { openOutputDescent } from './output-descent.js';
import { plainBlocks } from './plain-blocks.js';
import { plainGrids } from './plain-grids.js';
import { plainStream } from './plain-stream.js';
import { rowErrors } from './row-errors.js';
import { scoreLogits } from './score-logits.js';

export const referenceKernels: Kernels = {
  name: 'reference',
  threads: 1,
  matmul: async (args) => matmul(args),
  gram: async (args) => gram(args),
  // Uses the `gram` of the set that spreads this one, which may be another.
  gatherGrams() {
    return eagerGrams(this);
  },
  cholesky: async (args) => cholesky(args),
  triangularSolve: async (args) => triangularSolve(args),
  gptqBlock: async (args) => gptqBlock(args),
  rowErrors: async (args) => rowErrors(args),
  splitsColumns: false,
  openDescent,
  openOutputDescent,
  hadamard: async (args) => hadamard(args),
  matmulInt8: async (args) => matmulInt8(args),
  scoreLogits: async (args) => scoreLogits(args),
  grids: plainGrids,
  stream: plainStream,
  blocks: plainBlocks,
  sync: { matmul, matmulInt8 },
  dispose: async () => {},
};
