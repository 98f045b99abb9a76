import type { GatheredGrams, GramArgs, Kernels } from '@q/core';
import { mirrorUpper } from '@q/core/internal';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** Narrower matrices gain nothing: the transfer costs as much time as the product saves (`pnpm bench gram`). */
const minimumWidth = 512;
/**
 * From this width on, a matrix is computed in two strips of its upper triangle, which is three quarters of the work. At
 * 1,536 features and 2,048 tokens two strips take 50 to 58 ms and the whole product 59 to 73; at 576 features they are
 * equal. Four strips are no faster than two.
 */
const halvedWidth = 1024;
/** The engine keeps the sums of matrices of at most this width. Strips of wider ones are read at each call. */
const maximumKeptWidth = 2048;
/** Columns of such a strip. Narrower strips skip more of the part below the diagonal; wider strips are faster products. */
const stripColumns = 512;
/** The engine sums in f32 over about this number of tokens. The host adds these sums in f64. */
const tokensOnEngine = 8192;
/** A product of two activations of a batch goes to the engine from this number of multiplications on. */
const minimumWork = 1 << 26;

type Sum = GramArgs['out'];

/** A sum that the engine keeps, over some tokens: one tensor for each strip. */
interface EngineSum {
  tensors: readonly Tensor[];
  tokens: number;
}

/** Rows of the upper triangle: from the diagonal element `[first, first]` on, `height` rows of `rest` columns. */
interface Strip {
  readonly first: number;
  readonly height: number;
  readonly rest: number;
}

function stripsOf(width: number, count: number): readonly Strip[] {
  return Array.from({ length: count }, (_, strip) => {
    const first = Math.round((strip * width) / count);
    return { first, height: Math.round(((strip + 1) * width) / count) - first, rest: width - first };
  });
}

/** The strips of a matrix whose sum the engine keeps. */
const keptStrips = (width: number) => stripsOf(width, width < halvedWidth ? 1 : 2);

function stripProduct(tf: Tfjs, all: Tensor2D, { first, height, rest }: Strip): Tensor2D {
  const columns = (count: number) => (count === all.shape[1] ? all : tf.slice(all, [0, first], [-1, count]));
  return tf.matMul(columns(height), columns(rest), true, false);
}

/**
 * Computes Gram matrices by the engine's products. The engine sums a narrow matrix over several calls in f32, and a wide
 * one over the tokens of one call; the host adds these sums in f64. The kernels compute the narrowest matrices. Other
 * large products of activations go to the engine too.
 * @param activate makes the engine's backend tfjs's active one
 */
export function gatherGrams(
  tf: Tfjs,
  activate: () => void,
  kernels: Kernels,
  fromWidth: number = minimumWidth,
): GatheredGrams {
  const narrow = kernels.gatherGrams();
  const gathered = new Map<Sum, number>();
  const sums = new Map<Sum, EngineSum>();
  const release = () => {
    for (const { tensors } of sums.values()) for (const each of tensors) each.dispose();
    sums.clear();
    gathered.clear();
  };
  return {
    kept: true,
    kernels: {
      ...kernels,
      async gram(args) {
        const { x, tokens, width, out } = args;
        if (width < fromWidth) return narrow.kernels.gram(args);
        gathered.set(out, width);
        activate();
        const values = x.subarray(0, tokens * width);
        if (width > maximumKeptWidth) return addStrips(tf, values, width, out);
        const sum = sums.get(out) ?? { tensors: [], tokens: 0 };
        sums.set(out, sum);
        addProduct(tf, values, width, out, sum);
        if (sum.tokens >= tokensOnEngine) takeSum(sum, width, out);
      },
      async matmul(args) {
        const { a, b, m, n, k, transposeA, transposeB, accumulate, out } = args;
        if (accumulate || m * n * k < minimumWork) return narrow.kernels.matmul(args);
        activate();
        // `tidy` looks for tensors in its result, and for an array it looks at the values one by one, which takes two
        // thirds of the time of a product.
        const product = tf.tidy(() => {
          const left = tf.tensor2d(a.subarray(0, m * k), transposeA ? [k, m] : [m, k]);
          const right = tf.tensor2d(b.subarray(0, k * n), transposeB ? [n, k] : [k, n]);
          return tf.matMul(left, right, transposeA, transposeB);
        });
        const values = product.dataSync() as Float32Array;
        product.dispose();
        if (!out) return values;
        out.set(values);
        return out;
      },
    },
    async settle() {
      await narrow.settle();
      for (const [out, width] of gathered) {
        takeSum(sums.get(out), width, out);
        mirrorUpper(out, width);
      }
      release();
    },
    release() {
      narrow.release();
      release();
    },
  };
}

/** Adds the products of one call to the engine's sum, and their diagonal to `out`. */
function addProduct(tf: Tfjs, x: Float32Array, width: number, out: Sum, sum: EngineSum): void {
  const strips = keptStrips(width);
  const results = tf.tidy(() => {
    const all = tf.tensor2d(x, [x.length / width, width]);
    return strips.flatMap((strip, index) => {
      const product: Tensor = stripProduct(tf, all, strip);
      const places = tf.mul(tf.range(0, strip.height, 1, 'int32'), tf.scalar(strip.rest + 1, 'int32'));
      const own = tf.gather(tf.reshape(product, [-1]), places as Tensor1D);
      return [sum.tensors.length > 0 ? tf.add(sum.tensors[index]!, product) : product, own];
    });
  });
  for (const each of sum.tensors) each.dispose();
  sum.tensors = results.filter((_, i) => i % 2 === 0);
  sum.tokens += x.length / width;
  for (const [index, { first, height }] of strips.entries()) {
    const diagonal = results[2 * index + 1]!;
    const values = diagonal.dataSync();
    diagonal.dispose();
    for (let i = 0; i < height; i++) out[(first + i) * (width + 1)]! += values[i]!;
  }
}

/** Adds the engine's sum to the part of `out` above the diagonal. */
function takeSum(sum: EngineSum | undefined, width: number, out: Sum): void {
  if (!sum || sum.tensors.length === 0) return;
  for (const [index, { first, height, rest }] of keptStrips(width).entries()) {
    const tensor = sum.tensors[index]!;
    const values = tensor.dataSync();
    tensor.dispose();
    for (let i = 0; i < height; i++) {
      const at = (first + i) * width + first;
      for (let j = i + 1; j < rest; j++) out[at + j]! += values[i * rest + j]!;
    }
  }
  sum.tensors = [];
  sum.tokens = 0;
}

function addStrips(tf: Tfjs, x: Float32Array, width: number, out: Sum): void {
  tf.tidy(() => {
    const all = tf.tensor2d(x, [x.length / width, width]);
    for (const strip of stripsOf(width, Math.ceil(width / stripColumns))) {
      const { first, height, rest } = strip;
      const product = stripProduct(tf, all, strip).dataSync();
      for (let i = 0; i < height; i++) {
        const at = (first + i) * width + first;
        for (let j = i; j < rest; j++) out[at + j]! += product[i * rest + j]!;
      }
    }
  });
}
