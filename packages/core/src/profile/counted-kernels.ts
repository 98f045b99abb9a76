import type { Descent, DescentArgs, OutputDescentArgs } from '../contracts/descent.js';
import type { GatheredGrams, Kernels } from '../contracts/kernels.js';
import type { AttentionArgs, ForwardEngine, Ops } from '../contracts/ops.js';
import type { Profile } from '../contracts/profile.js';
import { elementCount } from '../tensor.js';

/**
 * The same kernels; a profile counts their products. A Gram matrix counts as its upper triangle, a sweep and a factor
 * as their triangles too: the necessary operations, whatever the implementation does.
 */
export function countedKernels(kernels: Kernels, profile: Profile): Kernels {
  const { sync } = kernels;
  return {
    ...kernels,
    matmul(args) {
      profile.count(2 * args.m * args.n * args.k);
      return kernels.matmul(args);
    },
    gram(args) {
      profile.count(args.tokens * args.width ** 2);
      return kernels.gram(args);
    },
    cholesky(args) {
      profile.count(args.n ** 3 / 3);
      return kernels.cholesky(args);
    },
    triangularSolve(args) {
      profile.count(args.rows * args.n ** 2);
      return kernels.triangularSolve(args);
    },
    gptqBlock(args) {
      profile.count(args.rows * args.columns ** 2);
      return kernels.gptqBlock(args);
    },
    rowErrors(args) {
      profile.count(args.rows * args.columns ** 2);
      return kernels.rowErrors(args);
    },
    openDescent: (args) => countedDescent(kernels.openDescent(args), args, profile),
    openOutputDescent(args: OutputDescentArgs) {
      const { rows, columns } = args;
      const descent = kernels.openOutputDescent(args);
      return {
        ...descent,
        descend(start, end, fit) {
          const width = end - start;
          profile.count(2 * rows * width * (rows + columns) + rows * width ** 2 * (fit ? 3 : 1));
          descent.descend(start, end, fit);
        },
      };
    },
    gatherGrams: () => countedGrams(kernels.gatherGrams(), profile),
    sync: sync && {
      ...sync,
      matmul(args) {
        profile.count(2 * args.m * args.n * args.k);
        return sync.matmul(args);
      },
    },
  };
}

function countedDescent(descent: Descent, { rows, columns }: DescentArgs, profile: Profile): Descent {
  return {
    ...descent,
    gradient(start, end) {
      profile.count(2 * rows * columns * (end - start));
      descent.gradient(start, end);
    },
    scaleGains(start, end) {
      profile.count(2 * rows * (end - start) ** 2);
      return descent.scaleGains(start, end);
    },
    descend(start, end, steps) {
      profile.count(rows * (end - start) ** 2);
      descent.descend(start, end, steps);
    },
  };
}

function countedGrams(gathered: GatheredGrams, profile: Profile): GatheredGrams {
  return { ...gathered, kernels: countedKernels(gathered.kernels, profile) };
}

/** The same engine; a profile counts its linears and attention. */
export function countedEngine<T, E extends ForwardEngine<T>>(engine: E, profile: Profile): E {
  const { ops, gatherGrams } = engine;
  const counted: Partial<Ops<T>> = {
    linear(x, weight, bias) {
      profile.count(2 * elementCount(ops.shape(x)) * ops.shape(weight)[0]);
      return ops.linear(x, weight, bias);
    },
    attention(args) {
      profile.count(attentionOperations(ops, args));
      return ops.attention(args);
    },
  };
  return {
    ...engine,
    ops: { ...ops, ...counted },
    ...(gatherGrams
      ? { gatherGrams: (kernels: Kernels) => countedGrams(gatherGrams.call(engine, kernels), profile) }
      : {}),
  };
}

/** Scores and weighted values of the keys that a query sees: half of all for a causal sequence without a window. */
function attentionOperations<T>(ops: Ops<T>, { q, k, causal = true, window }: AttentionArgs<T>): number {
  const [batch, asked, width] = ops.shape(q);
  const keys = ops.shape(k)[1];
  const seen = Math.min(causal && asked === keys ? (keys + 1) / 2 : keys, window ?? Number.POSITIVE_INFINITY);
  return 4 * batch * asked * seen * width;
}
