import {
  bnbFp4,
  checkOptions,
  choice,
  doubleQuantizedScale,
  dynamicMap,
  elementCount,
  FormatError,
  f32Scale,
  highNibbleFirst,
  scheme as makeScheme,
  nf4,
  type OptionValues,
  perFlat,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  type StoredScales,
  type TableFormat,
  type Tensor,
  tensor,
} from '@q/core';
import { keptHead } from '../kept-head.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';
import { decodeQuantState, paddedQuantState, type QuantState, quantStateBytes } from './quant-state.js';

export const bitsandbytes4bitLayoutOptions = {
  /** The dtype that readers dequantize weights to and multiply in. */
  dtype: choice(['bfloat16', 'float16', 'float32'], {
    default: 'bfloat16',
    help: 'The dtype that readers dequantize weights to and compute in.',
  }),
};

export type Bitsandbytes4bitLayoutOptions = OptionValues<typeof bitsandbytes4bitLayoutOptions>;

/** The two kinds of 4-bit weights, with bitsandbytes' names. */
export type Bitsandbytes4bitType = 'nf4' | 'fp4';
const formats: Readonly<Record<Bitsandbytes4bitType, TableFormat>> = { nf4, fp4: bnbFp4 };

/** Block sizes that its kernels support. */
const blockSizes = [32, 64, 128, 256, 512, 1024, 2048, 4096];
const nestedBlockSize = 256;

/**
 * 4-bit weights in the form of bitsandbytes: two codes a byte over the flattened weight, and one absolute maximum a
 * block, which double quantization stores in 8 bits (QLoRA, arXiv 2305.14314). It is the base of QLoRA as a folder.
 */
export function bitsandbytes4bitLayout(
  type: Bitsandbytes4bitType,
  options: Bitsandbytes4bitLayoutOptions = {},
): QuantizedLayout {
  const name = `bitsandbytes-${type}`;
  const { dtype } = checkOptions(name, bitsandbytes4bitLayoutOptions, options) as { dtype: string };
  return {
    name,
    floatKeys: ['llm_int8_threshold'],
    refuse: (module) => refuse(module, type),
    refuseTogether(modules) {
      const kinds = new Set(modules.map(({ scheme }) => isDouble(scheme)));
      return kinds.size > 1
        ? `${name} has one setting for all linears: quantize the scales of all twice, or of none`
        : undefined;
    },
    caution: ({ linear: { inFeatures }, scheme }) =>
      inFeatures % blockSizeOf(scheme) !== 0
        ? `in_features ${inFeatures} is not a multiple of the block size ${blockSizeOf(scheme)}: blocks cross rows, which bitsandbytes cannot run on CPUs with AVX-512, and vLLM and SGLang cannot split over GPUs`
        : blockSizeOf(scheme) === 32
          ? 'blocks of 32 need bitsandbytes 0.49 or later, and the first CUDA releases have 64 as the smallest'
          : undefined,
    plan({ linear: { module, inFeatures, outFeatures }, scheme }) {
      const count = inFeatures * outFeatures;
      const blocks = Math.ceil(count / blockSizeOf(scheme));
      const shape = [outFeatures, inFeatures] as const;
      const bytes = quantStateBytes(stateOf(type, dtype, scheme, shape, 0));
      const double = isDouble(scheme);
      return [
        { name: `${module}.weight`, dtype: 'U8', shape: [Math.ceil(count / 2), 1] },
        { name: `${module}.weight.absmax`, dtype: double ? 'U8' : 'F32', shape: [blocks] },
        { name: `${module}.weight.quant_map`, dtype: 'F32', shape: [16] },
        ...(double
          ? [
              {
                name: `${module}.weight.nested_absmax`,
                dtype: 'F32' as const,
                shape: [Math.ceil(blocks / nestedBlockSize)],
              },
              { name: `${module}.weight.nested_quant_map`, dtype: 'F32' as const, shape: [256] },
            ]
          : []),
        { name: `${module}.weight.${stateName(type)}`, dtype: 'U8', shape: [bytes] },
      ];
    },
    encode: (module, quantized) => encode(module, quantized, type, dtype),
    config(modules, kept, record) {
      return {
        config: {
          quant_method: 'bitsandbytes',
          load_in_8bit: false,
          load_in_4bit: true,
          _load_in_8bit: false,
          _load_in_4bit: true,
          llm_int8_threshold: 6,
          llm_int8_skip_modules: [...keptHead(modules, record), ...kept],
          llm_int8_enable_fp32_cpu_offload: false,
          llm_int8_has_fp16_weight: false,
          bnb_4bit_quant_type: type,
          bnb_4bit_use_double_quant: modules.some(({ scheme }) => isDouble(scheme)),
          bnb_4bit_compute_dtype: dtype,
          bnb_4bit_quant_storage: 'uint8',
        },
        files: new Map(),
      };
    },
    reader: (config) =>
      config.quant_method === 'bitsandbytes' &&
      config.load_in_4bit === true &&
      (config.bnb_4bit_quant_type ?? 'fp4') === type
        ? reader(config, type)
        : undefined,
  };
}

const isDouble = ({ scaleStorage }: Scheme) => scaleStorage.name === 'double';

const blockSizeOf = ({ granularity }: Scheme) => (granularity.kind === 'flat' ? granularity.size : 1);

const stateName = (type: Bitsandbytes4bitType) => `quant_state.bitsandbytes__${type}`;

const stateOf = (
  type: Bitsandbytes4bitType,
  dtype: string,
  scheme: Scheme,
  shape: readonly [number, number],
  offset: number,
): QuantState => ({
  quant_type: type,
  blocksize: blockSizeOf(scheme),
  dtype,
  shape,
  ...(isDouble(scheme) ? { nested_blocksize: nestedBlockSize, nested_dtype: 'float32', nested_offset: offset } : {}),
});

function refuse({ scheme, activation, codebook }: QuantizedModule, type: Bitsandbytes4bitType) {
  const { format, granularity, scaleStorage } = scheme;
  const named = type === 'nf4' ? 'nf4 or nf4-double' : 'bnb-fp4';
  if (format.name !== formats[type].name || codebook)
    return `the bitsandbytes-${type} layout stores ${formats[type].name} with its own 16 levels, not ${codebook ? 'a table of levels' : format.name}: use --weights ${named}`;
  if (granularity.kind !== 'flat' || !blockSizes.includes(granularity.size))
    return `the bitsandbytes-${type} layout stores blocks of ${blockSizes.join(', ')} of the flattened weight: use --weights ${named}`;
  if (scaleStorage.name !== f32Scale.name && JSON.stringify(scaleStorage) !== JSON.stringify(doubleQuantizedScale()))
    return `the bitsandbytes-${type} layout stores f32 scales, or double-quantized ones in blocks of ${nestedBlockSize}, not ${scaleStorage.name}`;
  return activation ? `the bitsandbytes-${type} layout stores weights alone, without quantized inputs` : undefined;
}

function encode(
  { linear: { module }, scheme }: QuantizedModule,
  quantized: QuantizedTensor,
  type: Bitsandbytes4bitType,
  dtype: string,
): Map<string, Tensor> {
  const { codes, scales, shape } = quantized;
  const packed = highNibbleFirst.pack(codes as Uint8Array);
  const vector = (values: Float32Array) => tensor('f32', [values.length], values);
  const weight = `${module}.weight`;
  const nested = isDouble(scheme) ? nestedParts(module, quantized) : undefined;
  const state = stateOf(type, dtype, scheme, shape as readonly [number, number], nested?.offset ?? 0);
  const bytes = paddedQuantState(state);
  return new Map<string, Tensor>([
    [weight, tensor('u8', [packed.length, 1], packed)],
    [`${weight}.absmax`, nested ? tensor('u8', [nested.codes.length], nested.codes) : vector(scales)],
    [`${weight}.quant_map`, vector(formats[type].levels)],
    ...(nested
      ? ([
          [`${weight}.nested_absmax`, vector(nested.absMax)],
          [`${weight}.nested_quant_map`, vector(dynamicMap.levels)],
        ] as const)
      : []),
    [`${weight}.${stateName(type)}`, tensor('u8', [bytes.length], bytes)],
  ]);
}

interface NestedParts {
  readonly codes: Uint8Array;
  readonly absMax: Float32Array;
  readonly offset: number;
}

/** Second-level values; computed again from the scales when the method did not give them. */
function nestedParts(module: string, { scheme, scales, storedScales }: QuantizedTensor): NestedParts {
  const stored = storedScales ?? again(module, scheme, scales);
  const { codes, absMax, offset } = stored.parts ?? {};
  return { codes: codes as Uint8Array, absMax: absMax as Float32Array, offset: (offset as Float32Array)[0] };
}

function again(module: string, { scaleStorage }: Scheme, scales: Float32Array): StoredScales {
  const stored = scaleStorage.store(scales);
  const bad = stored.effective.findIndex((scale, i) => scale !== scales[i]);
  if (bad >= 0)
    throw new SchemeError(`${module}: scale ${bad} is ${scales[bad]}, which its double quantization cannot hold`);
  return stored;
}

function reader(config: Readonly<Record<string, unknown>>, type: Bitsandbytes4bitType): LayoutReader {
  const { bnb_4bit_quant_storage: storage = 'uint8' } = config;
  if (storage !== 'uint8')
    throw new FormatError(
      `quantization_config: bnb_4bit_quant_storage is ${JSON.stringify(storage)}; only uint8 can be read: save it again`,
    );
  const parts = ['weight', 'absmax', 'quant_map', 'nested_absmax', 'nested_quant_map', stateName(type)];
  return {
    layout: `bitsandbytes-${type}`,
    has: (module, tensors) => tensors.has(`${module}.weight.absmax`),
    tensors: (module) => parts.map((part) => (part === 'weight' ? `${module}.weight` : `${module}.weight.${part}`)),
    read: (module, tensors) => read(module, tensors, type),
  };
}

async function read(module: string, tensors: TensorLookup, type: Bitsandbytes4bitType): Promise<QuantizedTensor> {
  const weight = `${module}.weight`;
  const stateTensor = `${weight}.${stateName(type)}`;
  const text = await readIntegers<Uint8Array>(tensors, stateTensor, 'u8', shapeOf(tensors, stateTensor, 1));
  const { blocksize, shape, nested_blocksize: nested, nested_offset: offset } = decodeQuantState(stateTensor, text);
  const count = elementCount(shape);
  const blocks = Math.ceil(count / blocksize);
  const packed = await readIntegers<Uint8Array>(tensors, weight, 'u8', [Math.ceil(count / 2), 1]);
  await readLevels(tensors, `${weight}.quant_map`, formats[type].levels);
  const granularity = perFlat(blocksize);
  const codes = highNibbleFirst.unpack(packed, count);
  if (nested === undefined) {
    const { values } = await readScales(tensors, `${weight}.absmax`, [[blocks]]);
    const scheme = makeScheme({ format: formats[type], granularity, scaleStorage: f32Scale });
    return { scheme, shape, codes, scales: values };
  }
  const nestedCodes = await readIntegers<Uint8Array>(tensors, `${weight}.absmax`, 'u8', [blocks]);
  const { values: absMax } = await readScales(tensors, `${weight}.nested_absmax`, [[Math.ceil(blocks / nested)]]);
  const levels = await readLevels(tensors, `${weight}.nested_quant_map`, dynamicMap.levels);
  const mean = Math.fround(offset ?? 0);
  const effective = Float32Array.from(nestedCodes, (code, i) => levels[code] * absMax[Math.floor(i / nested)] + mean);
  return {
    scheme: makeScheme({
      format: formats[type],
      granularity,
      scaleStorage: doubleQuantizedScale({ blockSize: nested }),
    }),
    shape,
    codes,
    scales: effective,
    storedScales: { effective, parts: { codes: nestedCodes, absMax, offset: Float32Array.of(mean) } },
  };
}

/**
 * The levels of a file. Those of weights are built into kernels; those of scales differ in their last bits between
 * releases.
 * @throws FormatError when one differs from the level of bitsandbytes
 */
async function readLevels(tensors: TensorLookup, name: string, expected: Float32Array): Promise<Float32Array> {
  const { values } = await readScales(tensors, name, [[expected.length]]);
  const bad = values.findIndex((value, i) => Math.abs(value - expected[i]) > 1e-6 * Math.abs(expected[i]));
  if (bad >= 0)
    throw new FormatError(`${name}: level ${bad} is ${values[bad]}, and bitsandbytes has ${expected[bad]} there`);
  return values;
}

/** The layout for the command and recipes. */
export const bitsandbytesNf4LayoutDeclaration: LayoutDeclaration<typeof bitsandbytes4bitLayoutOptions> = {
  name: 'bitsandbytes-nf4',
  summary: 'bitsandbytes: 4-bit NormalFloat, with and without double quantization (the base of QLoRA)',
  options: bitsandbytes4bitLayoutOptions,
  defaults: { method: 'rtn', weights: 'nf4' },
  make: (options) => bitsandbytes4bitLayout('nf4', options),
};

/** The layout for the command and recipes. */
export const bitsandbytesFp4LayoutDeclaration: LayoutDeclaration<typeof bitsandbytes4bitLayoutOptions> = {
  name: 'bitsandbytes-fp4',
  summary: 'bitsandbytes: its own 4-bit float, with and without double quantization',
  options: bitsandbytes4bitLayoutOptions,
  defaults: { method: 'rtn', weights: 'bnb-fp4' },
  make: (options) => bitsandbytes4bitLayout('fp4', options),
};
