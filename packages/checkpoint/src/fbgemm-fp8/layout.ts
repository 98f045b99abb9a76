import {
  type ActivationScheme,
  e4m3,
  FormatError,
  f32Scale,
  llama3Bound,
  refuseFp8Input,
  SchemeError,
  schemes,
  type Tensor,
  tensor,
} from '@q/core';
import { readFp8 } from '../fp8/layout.js';
import { keptHead } from '../kept-head.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule } from '../layout.js';
import { shownValue } from '../shown-value.js';
import { statedNumber } from '../stated-number.js';

/**
 * FP8 as the Llama 3 report runs it and Meta published Llama 3.1 405B: `quant_method: fbgemm_fp8`, read by vLLM and
 * transformers. E4M3 weights with an f32 scale a row; inputs E4M3 with a dynamic scale a token, whose magnitude is
 * limited to `activation_scale_ub`. One bound for all modules; every other linear is named in `modules_to_not_convert`.
 */
export function fbgemmFp8Layout(): QuantizedLayout {
  return {
    name: 'fbgemm-fp8',
    floatKeys: ['activation_scale_ub'],
    refuse,
    refuseTogether(modules) {
      const bounds = [...new Set(modules.map(({ activation }) => activation?.bound))];
      return bounds.length > 1
        ? `an fbgemm-fp8 folder has one bound on the scales of inputs, the rules request ${bounds.join(' and ')}`
        : undefined;
    },
    caution: ({ linear: { transposed, inFeatures, outFeatures } }) =>
      transposed
        ? 'transformers builds this architecture with Conv1D, and its FP8 replaces only linears'
        : inFeatures % 16 !== 0 || outFeatures % 16 !== 0
          ? 'FP8 products of vLLM and FBGEMM need sizes that are multiples of 16'
          : undefined,
    plan: ({ linear: { module, inFeatures, outFeatures } }) => [
      { name: `${module}.weight`, dtype: 'F8_E4M3', shape: [outFeatures, inFeatures] },
      { name: `${module}.weight_scale`, dtype: 'F32', shape: [outFeatures, 1] },
    ],
    encode: ({ linear: { module } }, { codes, scales, shape }) =>
      new Map<string, Tensor>([
        [`${module}.weight`, tensor('f8_e4m3', shape, codes as Uint8Array)],
        [`${module}.weight_scale`, tensor('f32', [shape[0], 1], scales)],
      ]),
    config(modules, kept, record) {
      const bound = modules[0]?.activation?.bound;
      if (bound === undefined) throw new SchemeError('an fbgemm-fp8 folder needs a bound on the scales of inputs');
      return {
        config: {
          quant_method: 'fbgemm_fp8',
          activation_scale_ub: bound,
          modules_to_not_convert: [...keptHead(modules, record), ...kept],
        },
        files: new Map(),
      };
    },
    reader: (config) => (config.quant_method === 'fbgemm_fp8' ? reader(config) : undefined),
  };
}

function refuse({ scheme: { format, granularity, scaleStorage }, activation, codebook }: QuantizedModule) {
  if (format.name !== e4m3.name || codebook || granularity.kind !== 'channel' || scaleStorage.name !== f32Scale.name)
    return 'the fbgemm-fp8 layout stores E4M3 with one f32 scale a row: use --weights fp8-row';
  if (activation?.bound === undefined || activation.scheme.granularity.kind !== 'token')
    return 'its readers quantize inputs per token with a bound: use --inputs fp8-row --input-bound 1200, or --layout fp8';
  return refuseFp8Input(activation);
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  const bound = statedNumber(config.activation_scale_ub);
  const activation: ActivationScheme = { scheme: schemes.activations.fp8RowWise, bound };
  if (refuseFp8Input(activation))
    throw new FormatError(
      `quantization_config: activation_scale_ub is ${shownValue(config.activation_scale_ub)}; a positive number was expected`,
    );
  return {
    layout: 'fbgemm-fp8',
    has: (module, tensors) => tensors.has(`${module}.weight_scale`),
    tensors: (module) => ['weight', 'weight_scale'].map((part) => `${module}.${part}`),
    read: (module, tensors) => readFp8(module, tensors, { suffix: 'weight_scale' }),
    activation: async () => activation,
  };
}

/** The layout for the command and recipes. */
export const fbgemmFp8LayoutDeclaration: LayoutDeclaration = {
  name: 'fbgemm-fp8',
  summary: 'FP8 of the Llama 3 report, read by vLLM: weights per channel, inputs per token with a bound',
  options: {},
  defaults: { method: 'rtn', weights: 'fp8-row', inputs: 'fp8-row', inputBound: llama3Bound },
  make: () => fbgemmFp8Layout(),
};
