import {
  type ActivationScheme,
  absMax127Scale,
  FormatError,
  f32Scale,
  int8,
  scheme as makeScheme,
  perChannel,
  perToken,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  type Tensor,
  tensor,
} from '@q/core';
import { keptHead } from '../kept-head.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { shownValue } from '../shown-value.js';
import { fromSigned, toSigned } from '../signed-codes.js';
import { statedNumber } from '../stated-number.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';

/** The default of bitsandbytes and transformers, if the config has none. */
const defaultThreshold = 6;
const weightScheme: Scheme = makeScheme({ format: int8, granularity: perChannel, scaleStorage: absMax127Scale });
const inputScheme: Scheme = makeScheme({
  format: int8,
  granularity: perToken,
  scaleStorage: f32Scale,
  dynamic: true,
});

/**
 * LLM.int8() in the form of bitsandbytes (docs/reference/file-formats.md#int8-of-bitsandbytes): codes, the absolute
 * maximum of each row (`SCB`, not divided by 127), and the outlier threshold in the config. Outliers are found when the
 * model runs.
 */
export function bitsandbytesInt8Layout(): QuantizedLayout {
  return {
    name: 'bitsandbytes-int8',
    floatKeys: ['llm_int8_threshold'],
    refuse,
    plan: ({ linear: { module, inFeatures, outFeatures } }) => [
      { name: `${module}.weight`, dtype: 'I8', shape: [outFeatures, inFeatures] },
      { name: `${module}.SCB`, dtype: 'F32', shape: [outFeatures] },
      { name: `${module}.weight_format`, dtype: 'U8', shape: [] },
    ],
    encode: ({ linear: { module } }, { codes, scales, shape }) =>
      new Map<string, Tensor>([
        [`${module}.weight`, tensor('i8', shape, toSigned(codes))],
        [`${module}.SCB`, tensor('f32', [scales.length], rowMaxima(codes, scales))],
        // 0: rows in plain order. Other numbers are orders for tensor cores that no longer exist.
        [`${module}.weight_format`, tensor('u8', [], Uint8Array.of(0))],
      ]),
    config(modules, kept, record) {
      const thresholds = [
        ...new Set(modules.map(({ activation }) => activation?.outlierThreshold ?? defaultThreshold)),
      ];
      if (thresholds.length !== 1)
        throw new SchemeError(
          `a bitsandbytes folder has one outlier threshold, the rules request ${thresholds.join(' and ')}`,
        );
      return {
        config: {
          quant_method: 'bitsandbytes',
          load_in_8bit: true,
          load_in_4bit: false,
          _load_in_8bit: true,
          _load_in_4bit: false,
          llm_int8_threshold: thresholds[0],
          llm_int8_skip_modules: [...keptHead(modules, record), ...kept],
          llm_int8_enable_fp32_cpu_offload: false,
          llm_int8_has_fp16_weight: false,
          bnb_4bit_quant_type: 'fp4',
          bnb_4bit_use_double_quant: false,
          bnb_4bit_compute_dtype: 'float32',
          bnb_4bit_quant_storage: 'uint8',
        },
        files: new Map(),
      };
    },
    reader: (config) =>
      config.quant_method === 'bitsandbytes' && config.load_in_8bit === true ? reader(config) : undefined,
  };
}

function refuse({ scheme, activation }: QuantizedModule): string | undefined {
  if (scheme.format.name !== 'int8' || scheme.zeroPoint !== 'none' || scheme.granularity.kind !== 'channel')
    return 'the bitsandbytes int8 layout stores symmetric int8 with one scale per output channel';
  if (scheme.scaleStorage.name !== absMax127Scale.name)
    return `the bitsandbytes int8 layout stores row maxima (${absMax127Scale.name}), not ${scheme.scaleStorage.name} scales`;
  const { scheme: inputs, outlierThreshold } = activation ?? {};
  if (outlierThreshold === undefined || !inputs?.dynamic || inputs.granularity.kind !== 'token')
    return 'bitsandbytes runs int8 weights as LLM.int8(), with dynamic inputs per token and an outlier threshold: use the method llm-int8';
  return undefined;
}

/** `SCB`: 127 times the scale; 0 for rows of zeros, for which any scale is valid. */
function rowMaxima(codes: ArrayLike<number>, scales: Float32Array): Float32Array {
  const width = codes.length / scales.length;
  return scales.map((scale, row) => {
    for (let i = row * width; i < (row + 1) * width; i++) if (codes[i] !== 128) return scale * 127;
    return 0;
  });
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  const threshold = statedNumber(config.llm_int8_threshold ?? defaultThreshold);
  if (!(threshold >= 0))
    throw new FormatError(
      `quantization_config: llm_int8_threshold is ${shownValue(config.llm_int8_threshold)}; 0 or a positive number was expected`,
    );
  const activation: ActivationScheme = { scheme: inputScheme, outlierThreshold: threshold };
  return {
    layout: 'bitsandbytes-int8',
    has: (module, tensors) => tensors.has(`${module}.SCB`),
    tensors: (module) => ['weight', 'SCB', 'weight_format'].map((part) => `${module}.${part}`),
    read,
    activation: async () => activation,
  };
}

async function read(module: string, tensors: TensorLookup): Promise<QuantizedTensor> {
  const shape = shapeOf(tensors, `${module}.weight`, 2);
  const codes = await readIntegers<Int8Array>(tensors, `${module}.weight`, 'i8', shape);
  const { values: maxima } = await readScales(tensors, `${module}.SCB`, [[shape[0]]]);
  if (tensors.has(`${module}.weight_format`)) {
    const order = Number((await tensors.read(`${module}.weight_format`)).data[0]);
    if (order !== 0)
      throw new FormatError(`${module}.weight_format is ${order}: only plain rows (0) can be read; save it again`);
  }
  const bad = maxima.findIndex((value) => value < 0);
  if (bad >= 0) throw new FormatError(`${module}.SCB: row ${bad} has the maximum ${maxima[bad]}`);
  return {
    scheme: weightScheme,
    shape,
    codes: fromSigned(codes),
    scales: maxima.map((value) => (value === 0 ? 1 : value / 127)),
  };
}

/** The layout for the command and recipes. */
export const bitsandbytesInt8LayoutDeclaration: LayoutDeclaration = {
  name: 'bitsandbytes-int8',
  summary: 'bitsandbytes: LLM.int8()',
  options: {},
  make: () => bitsandbytesInt8Layout(),
};
