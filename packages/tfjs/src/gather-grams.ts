import type { GatheredGrams, GramArgs, Kernels } from '@q/core';
import { mirrorUpper } from '@q/core/internal';
import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** Narrower matrices gain nothing: the transfer costs as much time as the product saves (`pnpm bench gram`). */
const minimumWidth = 512;
/**
 * A matrix of at most this width is one product, and the engine keeps its sum. Wider ones are computed strip by strip of
 * the upper triangle: less work, but a strip's product is slower, and its sum is read at each call. At 1,536 features
 * and 2,048 tokens the whole product takes 40 ms and the strips 52.
 */
const maximumWholeWidth = 2048;
/** Columns of a strip. Narrower strips skip more of the part below the diagonal; wider strips are faster products. */
const stripColumns = 512;
/** The engine sums in f32 over about this number of tokens. The host adds these sums in f64. */
const tokensOnEngine = 8192;
/** A product of two activations of a batch goes to the engine from this number of multiplications on. */
const minimumWork = 1 << 26;

type Sum = GramArgs['out'];

/** A sum that the engine keeps, over some tokens. */
interface EngineSum {
  tensor?: Tensor;
  tokens: number;
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
    for (const { tensor } of sums.values()) tensor?.dispose();
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
        if (width > maximumWholeWidth) return addStrips(tf, values, width, out);
        const sum = sums.get(out) ?? { tokens: 0 };
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

/** Adds the product of one call to the engine's sum, and its diagonal to `out`. */
function addProduct(tf: Tfjs, x: Float32Array, width: number, out: Sum, sum: EngineSum): void {
  const tokens = x.length / width;
  const [product, diagonal] = tf.tidy(() => {
    const all = tf.tensor2d(x, [tokens, width]);
    const whole: Tensor = tf.matMul(all, all, true, false);
    const places = tf.mul(tf.range(0, width, 1, 'int32'), tf.scalar(width + 1, 'int32'));
    const own = tf.gather(tf.reshape(whole, [-1]), places as Tensor1D);
    return [sum.tensor ? tf.add(sum.tensor, whole) : whole, own] as [Tensor, Tensor];
  });
  const onDiagonal = diagonal.dataSync();
  diagonal.dispose();
  for (let i = 0; i < width; i++) out[i * (width + 1)]! += onDiagonal[i]!;
  sum.tensor?.dispose();
  sum.tensor = product;
  sum.tokens += tokens;
}

/** Adds the engine's sum to the part of `out` above the diagonal. */
function takeSum(sum: EngineSum | undefined, width: number, out: Sum): void {
  if (!sum?.tensor) return;
  const values = sum.tensor.dataSync();
  sum.tensor.dispose();
  sum.tensor = undefined;
  sum.tokens = 0;
  for (let i = 0; i < width; i++) for (let at = i * width + i + 1; at < (i + 1) * width; at++) out[at]! += values[at]!;
}

function addStrips(tf: Tfjs, x: Float32Array, width: number, out: Sum): void {
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
