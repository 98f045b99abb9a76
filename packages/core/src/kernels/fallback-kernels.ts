import { KernelError } from '../contracts/errors.js';
import type { Kernels } from '../contracts/kernels.js';
import { eagerGrams } from './eager-grams.js';

/**
 * Kernels that switch to `next` when the device of `first` fails (lost, out of memory, too small). They repeat the
 * failed operation with `next`, and use `next` for all later ones. Before the repetition they restore arrays that the
 * operation adds to or overwrites.
 * @param onFailure called once with the reason, for the report
 */
export function fallbackKernels(first: Kernels, next: Kernels, onFailure: (reason: KernelError) => void): Kernels {
  let current = first;
  const attempt = async <T>(
    operation: (kernels: Kernels) => Promise<T>,
    changed?: Float32Array | Float64Array,
  ): Promise<T> => {
    if (current === next) return operation(next);
    const before = changed?.slice();
    try {
      return await operation(first);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (before) changed?.set(before as never);
      if (current === first) onFailure(error);
      current = next;
      return operation(next);
    }
  };
  return {
    get name() {
      return current.name;
    },
    get threads() {
      return current.threads;
    },
    get splitsColumns() {
      return current.splitsColumns;
    },
    matmul: (args) => attempt((kernels) => kernels.matmul(args), args.accumulate ? args.out : undefined),
    gram: (args) => attempt((kernels) => kernels.gram(args), args.out),
    gatherGrams() {
      return eagerGrams(this);
    },
    cholesky: (args) => attempt((kernels) => kernels.cholesky(args), args.out ? undefined : args.a),
    triangularSolve: (args) => attempt((kernels) => kernels.triangularSolve(args), args.b),
    gptqBlock: (args) => attempt((kernels) => kernels.gptqBlock(args), args.loss),
    rowErrors: (args) => attempt((kernels) => kernels.rowErrors(args)),
    openDescent: (args) => next.openDescent(args),
    openOutputDescent: (args) => next.openOutputDescent(args),
    hadamard: (args) => attempt((kernels) => kernels.hadamard(args), args.x),
    matmulInt8: (args) => attempt((kernels) => kernels.matmulInt8(args)),
    scoreLogits: (args) => attempt((kernels) => kernels.scoreLogits(args)),
    grids: next.grids,
    stream: next.stream,
    blocks: next.blocks,
    sync: next.sync,
    async dispose() {
      await first.dispose();
      await next.dispose();
    },
  };
}
