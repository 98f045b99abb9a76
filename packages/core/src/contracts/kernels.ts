import type { BlockKernels } from './block-kernels.js';
import type { Descent, DescentArgs, OutputDescent, OutputDescentArgs } from './descent.js';
import type { GridKernels } from './grid-kernels.js';
import type { StreamKernels } from './stream-kernels.js';

/**
 * The heavy operations. All matrices are dense, row-major, in host memory. `core` has a readable reference of each
 * (`referenceKernels`); other packages replace them one by one: `{...referenceKernels, ...fast}`. Every set of kernels
 * has every operation, so callers never check whether one exists. Every implementation states its accumulation order
 * and precision in its file header, and passes the same tests.
 */
export interface Kernels {
  /** Unique, for reports: `reference`, `wasm`, `wasm-relaxed`, `webgpu`. */
  readonly name: string;
  /** Threads that the implementation uses. Results do not depend on it. */
  readonly threads: number;
  /** `out[m,n] (+)= op(a) op(b)`; `a` is `[m,k]` (`[k,m]` if transposeA), `b` is `[k,n]` (`[n,k]` if transposeB). */
  matmul(args: MatmulArgs): Promise<Float32Array>;
  /** `out[width,width] += x^T x` for `x` `[tokens, width]`; both triangles are written. */
  gram(args: GramArgs): Promise<void>;
  /**
   * For Gram matrices that are summed over many calls: keeps the sums in the kernels' own memory. Kernels without such
   * memory return `eagerGrams`.
   */
  gatherGrams(): GatheredGrams;
  /**
   * In-place Cholesky factor of a symmetric positive definite matrix `[n,n]`. `lower`: A = L L^T. `reversed-upper`: A =
   * R R^T with R upper triangular (factor with both axes reversed, reversed back; docs/reference/papers.md#gptq,
   * inverse-free form). The other triangle is zeroed. Resolves to false, content undefined, when a pivot is not
   * positive.
   */
  cholesky(args: CholeskyArgs): Promise<boolean>;
  /** Solves in place for rows: `x op(T) = b` with T triangular `[n,n]` and b `[rows,n]` (right side solve). */
  triangularSolve(args: TriangularSolveArgs): Promise<void>;
  /** One block of the GPTQ column sweep; see {@link GptqBlockArgs}. */
  gptqBlock(args: GptqBlockArgs): Promise<void>;
  /** `||d R||^2` of each row d `[rows]`; see {@link RowErrorArgs}. */
  rowErrors(args: RowErrorArgs): Promise<Float64Array>;
  /** Whether `gptqBlock` splits the columns into blocks itself: it is then fastest with all columns in one call. */
  readonly splitsColumns: boolean;
  /** Coordinate descent on rounded rows that stay in the kernels' memory; see {@link DescentArgs}. */
  openDescent(args: DescentArgs): Descent;
  /** The same for rows whose outputs affect the loss together; see {@link OutputDescentArgs}. */
  openOutputDescent(args: OutputDescentArgs): OutputDescent;
  /** In-place orthonormal Walsh-Hadamard transform of each row's consecutive chunks of `size` (a power of two). */
  hadamard(args: HadamardArgs): Promise<void>;
  /** `out[m,n] = a b^T` with a `[m,k]` i8, b `[n,k]` i8, i32 accumulation (exact for k < 2^17). */
  matmulInt8(args: MatmulInt8Args): Promise<Int32Array>;
  /** The log likelihood of tokens under a model, and the KL divergence to another model; see {@link LogitsArgs}. */
  scoreLogits(args: LogitsArgs): Promise<LogitsScores>;
  /** Fitting and rounding of grids. Core's own: `plainGrids`. */
  readonly grids: GridKernels;
  /** Decoding and packing. Core's own: `plainStream`. */
  readonly stream: StreamKernels;
  /** Encoding of GGUF's blocks. Core's own: `plainBlocks`. */
  readonly blocks: BlockKernels;
  /**
   * The operations that can be called inside a synchronous forward pass; `undefined` for kernels without them, such as
   * a GPU.
   */
  readonly sync: SyncKernels | undefined;
  /** Ends workers, frees memory. */
  dispose(): Promise<void>;
}

export interface LogitsArgs {
  /** `[rows, vocabulary]` */
  readonly logits: Float32Array;
  /** Of another model for the same tokens. */
  readonly original?: Float32Array;
  readonly rows: number;
  readonly vocabulary: number;
}

export interface LogitsScores {
  /**
   * Log of the sum of exponentials of each row `[rows]`: a token's log likelihood is its logit minus this. Not finite
   * if a logit is not.
   */
  readonly logs: Float64Array;
  /** The first of the most likely tokens of each row `[rows]`. */
  readonly tops: Int32Array;
  /** The same of the original, and `KL(original || model)` of each row in nats. */
  readonly original?: {
    readonly logs: Float64Array;
    readonly tops: Int32Array;
    readonly divergences: Float64Array;
  };
}

/** Synchronous forms, for engines whose operations are synchronous. */
export interface SyncKernels {
  matmul(args: MatmulArgs): Float32Array;
  matmulInt8(args: MatmulInt8Args): Int32Array;
}

export interface MatmulArgs {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** Written to when given; a new array otherwise. */
  readonly out?: Float32Array;
  /** Add to `out` instead of overwriting it. */
  readonly accumulate?: boolean;
}

export interface GramArgs {
  readonly x: Float32Array;
  readonly tokens: number;
  readonly width: number;
  readonly out: Float32Array | Float64Array;
}

/** Gram matrices whose sums are not written yet. */
export interface GatheredGrams {
  /**
   * The same kernels with a `gram` that updates only the diagonal of its `out`; the other elements are undefined before
   * `settle`. It identifies a matrix by its array, so nothing else may change that array until then.
   */
  readonly kernels: Kernels;
  /** False: `gram` writes all of its `out` at each call, and `settle` does nothing. */
  readonly kept: boolean;
  /** Writes the kept sums into all `out`s, both triangles, and frees them. */
  settle(): Promise<void>;
  /** Frees the kept sums without writing them. */
  release(): void;
}

export interface CholeskyArgs {
  /** Symmetric, with both triangles. Overwritten with the factor, unless `out` is given. */
  readonly a: Float32Array | Float64Array;
  readonly n: number;
  readonly form: 'lower' | 'reversed-upper';
  /** Receives the factor, in this array's precision; `a` does not change. */
  readonly out?: Float32Array | Float64Array;
  /** Factors `a[order[i], order[j]]` instead. */
  readonly order?: Int32Array;
  /** `[n]`, in that order: replaces the diagonal (damping). */
  readonly diagonal?: Float64Array;
}

export interface TriangularSolveArgs {
  /** Triangular factor `[n,n]`. */
  readonly t: Float32Array | Float64Array;
  readonly n: number;
  readonly triangle: 'lower' | 'upper';
  readonly transpose?: boolean;
  /** `[rows,n]`, overwritten with the solution. */
  readonly b: Float32Array | Float64Array;
  readonly rows: number;
}

/** The grid of the sweep: integers `min..max`, or the nearest of sorted `levels` (index in `levels` = code order). */
export type RoundingGrid =
  | { readonly kind: 'linear'; readonly min: number; readonly max: number }
  | { readonly kind: 'levels'; readonly levels: Float32Array; readonly codes: Uint8Array };

/**
 * Columns `[start, start+columns)` of the inverse-free GPTQ sweep (docs/reference/papers.md#gptq). For each row and
 * column j in order:
 *
 *     v_j = w_j + (feedback_j + sum_{start<=i<j} d_i R_ij) / R_jj
 *     q_j = round(v_j / scale + zero) on the grid;   d_j = w_j - (q_j - zero) * scale
 *     loss += ((v_j - deq_j) * R_jj)^2
 *
 * Rows are independent. `scales`/`zeros` are `[rows, groups]`, `group[j]` says which one column j of the block uses.
 */
export interface GptqBlockArgs {
  readonly rows: number;
  readonly columns: number;
  /** Original (or retargeted) weights of the block `[rows, columns]`. */
  readonly weight: Float32Array;
  /** `D[:, <start] R[<start, block]`, `[rows, columns]`; absent: zero, as for the first block. */
  readonly feedback?: Float32Array;
  /** `R[block, block]`, upper triangular `[columns, columns]`. */
  readonly factor: Float32Array;
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  readonly groups: number;
  readonly group: Int32Array;
  readonly grid: RoundingGrid;
  /**
   * For `weight` and `codes` in another order of columns: the j-th column to be rounded is `order[j]`. All other arrays
   * are in the order of rounding.
   */
  readonly order?: Int32Array;
  /** Out: codes `[rows, columns]`, unsigned (`value - grid.min`, or `grid.codes[index]`). */
  readonly codes: Uint8Array;
  /** Out, optional: `D = W - Q`, transposed `[columns, rows]`, the form that the products over earlier columns read. */
  readonly difference?: Float32Array;
  /** Added to: loss of each row `[rows]`. */
  readonly loss: Float64Array;
}

/** The error of a quantized weight, row by row: the squared norm of `D R` where `H = R R^T`. */
export interface RowErrorArgs {
  /** D `[rows, columns]`. */
  readonly difference: Float32Array;
  /** R, upper triangular `[columns, columns]`. */
  readonly factor: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

export interface HadamardArgs {
  readonly x: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly size: number;
}

export interface MatmulInt8Args {
  readonly a: Int8Array;
  readonly b: Int8Array;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly out?: Int32Array;
}
