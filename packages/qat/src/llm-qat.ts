import {
  absMax,
  checkOptions,
  choice,
  codeOnly,
  f32Scale,
  integer,
  type Method,
  type OptionValues,
  perToken,
  pickOptions,
  type Scheme,
  SchemeError,
  scheme,
  signedIntegers,
  type Tuner,
} from '@q/core';
import { refuseActivationScheme } from './activations/fake-quantize.js';
import { type QuantizedRuntimeOptions, quantizedRuntime } from './activations/quantized-runtime.js';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { refitted } from './parameters/refitted.js';
import { refuseReordered } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { rateOption } from './training-options.js';
import { trainsWeights, weightTrainingOptions } from './weight-training.js';

const isScheme = (value: unknown) => typeof value === 'object' && value !== null && 'format' in value;
const { rates: _, ...sharedOptions } = weightTrainingOptions;

/**
 * Options of {@link llmQat}. The paper makes one pass over a hundred thousand windows; the default here is 20 passes
 * over few windows.
 */
export const llmQatOptions = {
  ...sharedOptions,
  /** Inputs of the linears: dynamic, symmetric, one scale a token in the paper. Unquantized when absent. */
  activations: codeOnly<Scheme>('a scheme', isScheme, { help: 'Scheme of the inputs of linears.' }),
  /**
   * Keys, before their rotation, and values: one scale a token over all heads in the paper. Unquantized when absent.
   */
  cache: codeOnly<Scheme>('a scheme', isScheme, { help: 'Scheme of the key-value cache.' }),
  /**
   * `learned` (default): scales and zero points are trained together with the weights and start at the quantizer's.
   * `minMax`: as in the paper, scales follow the largest weight of each row; the scheme must be symmetric.
   */
  weights: choice(['learned', 'minMax'], {
    default: 'learned',
    help: 'Train scales and zero points, or let them follow the largest weights.',
  }),
  /**
   * Peak learning rate of the weights. Default 6e-4 at 2 bits, and this times 3 / (codes - 1) at others. The paper has
   * 2e-5 for its many steps.
   */
  rate: rateOption('6e-4 at 2 bits, less at more bits'),
};

export type LlmQatOptions = OptionValues<typeof llmQatOptions>;

/**
 * LLM-QAT (arXiv 2305.17888): the quantized model learns the unquantized model's logits, by KL alone. The text is
 * written by the unquantized model itself (`selfGeneratedWindows` of `@q/calib`). Weights, activations and cache are
 * quantized as they will run.
 */
export function llmQat(options: LlmQatOptions = {}): Tuner {
  checkOptions('llm-qat', llmQatOptions, options);
  const { activations, cache, weights = 'learned', rate, ...shared } = options;
  for (const [what, scheme] of [
    ['activations', activations],
    ['cache', cache],
  ] as const) {
    const refusal = scheme && refuseActivationScheme(scheme);
    if (refusal) throw new SchemeError(`llm-qat, ${what}: ${refusal}`);
  }
  const runtime: QuantizedRuntimeOptions = { activations, cache };
  const quantizesRuntime = activations !== undefined || cache !== undefined;
  const inside = [activations && `${activations.format.bits}-bit inputs`, cache && `a ${cache.format.bits}-bit cache`];
  const training = trainsWeights(rate === undefined ? shared : { ...shared, rates: { weight: rate } }, {
    loss: { labels: 0, teacher: 1 },
    parameterize(original, start, { kernels }) {
      refuseReordered(start);
      return weights === 'minMax'
        ? refitted(original, start.scheme, { fit: absMax({ range: 'narrow' }), kernels })
        : learnedStep(nearestInCells(original, start), start.scheme, start, { kernels });
    },
    ...(quantizesRuntime ? { wrap: (inner, model) => quantizedRuntime(inner, model, runtime) } : {}),
    task: 'llm-qat',
  });
  return {
    name: 'llm-qat',
    options: { ...training.options, weights, activations, cache },
    refuse: (scheme) =>
      weights === 'minMax' && scheme.zeroPoint !== 'none'
        ? 'llm-qat with min-max weights has no zero points: use a symmetric scheme'
        : refuseLearnedStep(scheme),
    forecast: training.forecast,
    async tune(input, context) {
      const result = await training.tune(input, context);
      if (!quantizesRuntime) return result;
      const note = `trained for ${inside.filter(Boolean).join(' and ')}: the folder has the weights; configure the runtime to quantize the rest`;
      return { ...result, notes: [...result.notes, note] };
    },
  };
}

const bits = (what: string) =>
  integer({ min: 2, max: 8, or: [16], default: 16, help: `Bits of ${what} while training; 16: not quantized.` });

const methodOptions = {
  ...pickOptions(llmQatOptions, 'epochs', 'batch', 'heldOut', 'checkpointing', 'memory', 'rate'),
  /** Bits of the inputs of linears while training; 16: not quantized. */
  inputBits: bits('the inputs of linears'),
  /** Bits of the key-value cache while training; 16: not quantized. */
  cacheBits: bits('the key-value cache'),
};

/** Symmetric integers with one dynamic scale a token; undefined for 16 bits. */
const perTokenBits = (width = 16): Scheme | undefined =>
  width < 16
    ? scheme({ format: signedIntegers[width - 2], granularity: perToken, scaleStorage: f32Scale, dynamic: true })
    : undefined;

/** The declaration of the method for the command and recipes. */
export const llmQatMethod: Method<typeof methodOptions> = {
  name: 'llm-qat',
  summary: 'trains all linears on text that the model has written itself, starting from GPTQ',
  options: methodOptions,
  base: { method: 'gptq' },
  tuner: ({ inputBits, cacheBits, ...options }) =>
    llmQat({ ...options, activations: perTokenBits(inputBits), cache: perTokenBits(cacheBits) }),
  writesText: true,
};
