import { SchemeError } from '@q/core';
import { expectInteger } from './buckets.js';
import { exact } from './exact.js';
import { floats } from './floats.js';
import type { GradientCompressor } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';
import { createResidual, entryOf } from './residual.js';
import { scaledSign } from './scaled-sign.js';

export interface OneBitMomentumOptions {
  /** Steps with exact gradients. The optimizer's second moment must be frozen after them. */
  readonly warmup: number;
  /** Decay of Adam's first moment, the optimizer's own. Default 0.9. */
  readonly beta1?: number;
  /** Decay of the squares of the warm-up's gradients. Default 0.95. */
  readonly beta2?: number;
}

/**
 * 1-bit Adam (Tang et al., arXiv 2102.02888). After the warm-up each worker sends the sign of its momentum with error
 * feedback instead of its gradient: `m_w = beta1 m + (1 - beta1) g_w`, and the new momentum is the mean over workers.
 * The result is the gradient that moves Adam's first moment from the old momentum to the new one, so an ordinary AdamW
 * can apply it. The second moment must not see these gradients: error feedback cannot repair their squares.
 *
 * Each element is divided by the root of its mean square before its sign is taken, and multiplied by it afterwards. All
 * workers know these squares from the warm-up, so they cost no bytes. The published form sends signs of the momentum
 * itself: elements with small gradients then get the mean magnitude of all, which Adam divides by their own small
 * deviation. The loss of the demo model rose by 26 % after the warm-up.
 * @throws SchemeError for options out of range
 */
export function oneBitMomentum({ warmup, beta1 = 0.9, beta2 = 0.95 }: OneBitMomentumOptions): GradientCompressor {
  expectInteger('oneBitMomentum: warmup', warmup, 0, 2 ** 31);
  for (const [name, value] of Object.entries({ beta1, beta2 }))
    if (!(value >= 0 && value < 1))
      throw new SchemeError(`oneBitMomentum: ${name} is ${value}: expected 0 up to below 1`);
  const sign = scaledSign();
  return {
    name: '1bit-adam',
    options: { warmup, beta1, beta2 },
    unbiased: false,
    momentumAfter: warmup,
    createState(shape) {
      const length = shape.reduce((product, size) => product * size, 1);
      const residual = createResidual(length);
      const plain = exact().createState(shape);
      const momentum = new Float32Array(length);
      const squares = new Float32Array(length);
      let roots: Float64Array | undefined;
      let steps = 0;
      return {
        *reduce(gradient, random) {
          if (steps++ < warmup) {
            const mean = yield* plain.reduce(gradient, random);
            for (let i = 0; i < length; i++) {
              momentum[i] += (1 - beta1) * (mean[i] - momentum[i]);
              squares[i] += (1 - beta2) * (mean[i] * mean[i] - squares[i]);
            }
            return mean;
          }
          roots ??= rootsOf(squares);
          const sizes = roots;
          const decoded = (payload: Uint8Array) => {
            const signs = sign.decompress(payload, length);
            for (let i = 0; i < length; i++) signs[i] *= sizes[i];
            return signs;
          };
          const wanted = new Float64Array(length);
          for (let i = 0; i < length; i++)
            wanted[i] = momentum[i] + (1 - beta1) * (gradient[i] - momentum[i]) + residual.values[i];
          const payload = sign.compress(
            floats(length, (i) => wanted[i] / sizes[i]),
            random,
          );
          const sent = decoded(payload);
          for (let i = 0; i < length; i++) residual.values[i] = wanted[i] - sent[i];
          const payloads = yield payload;
          const next = meanOf(payloads.map(decoded), length);
          const effective = next.map((value, i) => (value - beta1 * momentum[i]) / (1 - beta1));
          momentum.set(next);
          return effective;
        },
        save: () =>
          new Map([
            ...residual.save(),
            ['momentum', momentum.slice()],
            ['squares', squares.slice()],
            ['steps', Float32Array.of(steps)],
          ]),
        load(state) {
          residual.load(state);
          momentum.set(entryOf(state, 'momentum', length));
          squares.set(entryOf(state, 'squares', length));
          roots = undefined;
          steps = entryOf(state, 'steps', 1)[0];
        },
      };
    },
  };
}

/** An element whose gradients were all 0 in the warm-up counts with this share of the mean square: it may get one later. */
const smallestShare = 1e-4;

/** Roots of the squares; all 1 if there was no warm-up. */
function rootsOf(squares: Float32Array): Float64Array {
  const mean = squares.reduce((sum, value) => sum + value, 0) / squares.length;
  return Float64Array.from(squares, (square) => (mean > 0 ? Math.sqrt(square + smallestShare * mean) : 1));
}
