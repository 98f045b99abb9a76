import type { GatheredGrams, GramArgs, Kernels } from '@q/core';
import { mirrorUpper } from '@q/core/internal';
import type { Tfjs } from './handle.js';

/** Columns of a strip. Narrower strips skip more of the part below the diagonal; wider strips are faster products. */
const stripColumns = 512;
/** Narrower matrices gain nothing: the transfer costs as much time as the product saves (`pnpm bench gram`). */
const minimumWidth = 512;
/** A product of two activations of a batch goes to the engine from this number of multiplications on. */
const minimumWork = 1 << 26;

/**
 * Computes Gram matrices by the engine's products, strip by strip of the upper triangle. The sums over the tokens of
 * one call are f32; the host adds them in f64. The kernels compute narrow matrices. Other large products of activations
 * go to the engine too.
 * @param activate makes the engine's backend tfjs's active one
 */
export function gatherGrams(
  tf: Tfjs,
  activate: () => void,
  kernels: Kernels,
  fromWidth: number = minimumWidth,
): GatheredGrams {
  const narrow = kernels.gatherGrams();
  const gathered = new Map<GramArgs['out'], number>();
  return {
    kept: true,
    kernels: {
      ...kernels,
      async gram(args) {
        const { x, tokens, width, out } = args;
        if (width < fromWidth) return narrow.kernels.gram(args);
        gathered.set(out, width);
        activate();
        addUpperTriangle(tf, x.subarray(0, tokens * width), width, out);
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
      for (const [out, width] of gathered) mirrorUpper(out, width);
      gathered.clear();
    },
    release() {
      narrow.release();
      gathered.clear();
    },
  };
}

function addUpperTriangle(tf: Tfjs, x: Float32Array, width: number, out: GramArgs['out']): void {
  const strips = Math.ceil(width / stripColumns);
  tf.tidy(() => {
    const all = tf.tensor2d(x, [x.length / width, width]);
    for (let strip = 0; strip < strips; strip++) {
      const first = Math.round((strip * width) / strips);
      const height = Math.round(((strip + 1) * width) / strips) - first;
      const rest = width - first;
      const columns = (count: number) => tf.slice(all, [0, first], [-1, count]);
      const product = tf.matMul(columns(height), columns(rest), true, false).dataSync();
      for (let i = 0; i < height; i++) {
        const at = (first + i) * width + first;
        for (let j = i; j < rest; j++) out[at + j]! += product[i * rest + j]!;
      }
    }
  });
}
