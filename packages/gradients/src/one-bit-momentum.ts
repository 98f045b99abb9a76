import { SchemeError } from '@q/core';
import { expectInteger } from './buckets.js';
import { exact } from './exact.js';
import type { GradientCompressor } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';
import { createResidual, entryOf } from './residual.js';
import { scaledSign } from './scaled-sign.js';

export interface OneBitMomentumOptions {
  /** Steps with exact gradients. The optimizer's second moment must be frozen after them. */
  readonly warmup: number;
  /** Decay of Adam's first moment, the optimizer's own. Default 0.9. */
  readonly beta1?: number;
}

/**
 * 1-bit Adam (Tang et al., arXiv 2102.02888). After the warm-up each worker sends the sign of its momentum with error
 * feedback instead of its gradient: `m_w = beta1 m + (1 - beta1) g_w`, and the new momentum is the mean over workers.
 * The result is the gradient that moves Adam's first moment from the old momentum to the new one, so an ordinary AdamW
 * can apply it. The second moment must not see these gradients: error feedback cannot repair their squares.
 * @throws SchemeError for options out of range
 */
export function oneBitMomentum({ warmup, beta1 = 0.9 }: OneBitMomentumOptions): GradientCompressor {
  expectInteger('oneBitMomentum: warmup', warmup, 0, 2 ** 31);
  if (!(beta1 >= 0 && beta1 < 1)) throw new SchemeError(`oneBitMomentum: beta1 is ${beta1}: expected 0 up to below 1`);
  const sign = scaledSign();
  return {
    name: '1bit-adam',
    options: { warmup, beta1 },
    unbiased: false,
    momentumAfter: warmup,
    createState(shape) {
      const length = shape.reduce((product, size) => product * size, 1);
      const residual = createResidual(length);
      const plain = exact().createState(shape);
      const momentum = new Float32Array(length);
      let steps = 0;
      return {
        *reduce(gradient, random) {
          if (steps++ < warmup) {
            const mean = yield* plain.reduce(gradient, random);
            for (let i = 0; i < length; i++) momentum[i] += (1 - beta1) * (mean[i] - momentum[i]);
            return mean;
          }
          const wanted = new Float64Array(length);
          for (let i = 0; i < length; i++)
            wanted[i] = momentum[i] + (1 - beta1) * (gradient[i] - momentum[i]) + residual.values[i];
          const payload = sign.compress(Float32Array.from(wanted), random);
          const sent = sign.decompress(payload, length);
          for (let i = 0; i < length; i++) residual.values[i] = wanted[i] - sent[i];
          const payloads = yield payload;
          const next = meanOf(
            payloads.map((each) => sign.decompress(each, length)),
            length,
          );
          const effective = next.map((value, i) => (value - beta1 * momentum[i]) / (1 - beta1));
          momentum.set(next);
          return effective;
        },
        save: () => new Map([...residual.save(), ['momentum', momentum.slice()], ['steps', Float32Array.of(steps)]]),
        load(state) {
          residual.load(state);
          momentum.set(entryOf(state, 'momentum', length));
          steps = entryOf(state, 'steps', 1)[0];
        },
      };
    },
  };
}
