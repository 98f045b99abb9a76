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
  refuseInt8Input,
  type Scheme,
  SchemeError,
  scheme,
} from '@q/core';

/** Weights of LLM.int8(): one absolute maximum per output row, kept in f32. */
export const llmInt8Weight: Scheme = scheme({ format: int8, granularity: perChannel, scaleStorage: absMax127Scale });

/** Smallest magnitude of an outlier (section 3.2.1). */
export const paperThreshold = 6;

/**
 * Inputs of LLM.int8(): per token, dynamic, outlier columns apart.
 * @throws SchemeError when the threshold is negative or not finite
 */
export function llmInt8Input(threshold: number = paperThreshold): ActivationScheme {
  const activation = {
    scheme: scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
    outlierThreshold: threshold,
  };
  const refusal = refuseInt8Input(activation);
  if (refusal) throw new SchemeError(`llm-int8: ${refusal}`);
  return activation;
}

const fit = absMax({ range: 'narrow' });

/**
 * Quantizes the weights for LLM.int8(): `code = round(127 w / max|row|)`, half to even. Data-free: the
 * outliers are found in the inputs when the linear runs (`int8Linears` of `@q/execution`).
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
