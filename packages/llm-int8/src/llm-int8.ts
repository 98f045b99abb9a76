import {
  type ActivationScheme,
  absMax,
  absMax127Scale,
  f32Scale,
  int8,
  type Method,
  number,
  perChannel,
  perToken,
  type Quantizer,
  quantize,
  type Scheme,
  scheme,
} from '@q/core';
import { checkThreshold } from './mixed-linears.js';

/** Weights of LLM.int8(): one absolute maximum per output row, kept in f32. */
export const llmInt8Weight: Scheme = scheme({ format: int8, granularity: perChannel, scaleStorage: absMax127Scale });

/** Smallest magnitude of an outlier (section 3.2.1). */
export const paperThreshold = 6;

/** Inputs of LLM.int8(): per token, dynamic, outlier columns apart. */
export function llmInt8Input(threshold: number = paperThreshold): ActivationScheme {
  checkThreshold(threshold, 'llm-int8');
  return {
    scheme: scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
    outlierThreshold: threshold,
  };
}

const fit = absMax({ range: 'narrow' });

/**
 * Quantizes the weights for LLM.int8(): `code = round(127 w / max|row|)`, half to even. Data-free; outliers are found
 * in the activations when the layer runs ({@link mixedLinears}).
 */
export function llmInt8(): Quantizer {
  return {
    name: 'llm-int8',
    options: {},
    needs: [],
    refuse(asked) {
      return asked.format.name === 'int8' && asked.zeroPoint === 'none' && asked.granularity.kind === 'channel'
        ? undefined
        : 'LLM.int8() has symmetric int8 weights with one scale per output channel';
    },
    async quantize(weight, _statistics, asked, { kernels }) {
      return {
        quantized: quantize(weight, asked, { fit, kernels }),
        report: { method: 'llm-int8', tokens: 0, figures: {}, notes: [] },
      };
    },
  };
}

const methodOptions = {
  /**
   * Columns of the inputs with a magnitude of at least this are multiplied in floating point. 0: none is. Default 6, as
   * in the paper.
   */
  threshold: number({
    min: 0,
    default: paperThreshold,
    help: 'Columns of the inputs with at least this magnitude stay in floating point; 0: none.',
  }),
};

/** The method for the command and recipes. */
export const llmInt8Method: Method<typeof methodOptions> = {
  name: 'llm-int8',
  summary: 'int8 weights and inputs, with outlier columns of the inputs kept in floating point; needs no text',
  options: methodOptions,
  quantizer: () => llmInt8(),
  schemes: ({ threshold }) => ({ scheme: llmInt8Weight, activation: llmInt8Input(threshold) }),
  layout: 'bitsandbytes-int8',
};
