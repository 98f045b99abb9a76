import {
  e4m3,
  FormatError,
  f32Scale,
  scheme as makeScheme,
  perBlock,
  perChannel,
  perTensor,
  type QuantizedTensor,
  refuseFp8Input,
  type Scheme,
  type Tensor,
  tensor,
} from '@q/core';
import { cacheScaleReader, compressedCacheScales } from '../compressed-tensors/cache-scales.js';
import { cautionConv1d, compressedConfig } from '../compressed-tensors/config.js';
import { inputScaleTensors, plannedInputScale, readInputs } from '../compressed-tensors/inputs.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { refuseZeroPoints } from '../refuse-zero-points.js';
import { shownValue } from '../shown-value.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';

/**
 * FP8 of compressed-tensors, format `float-quantized`: E4M3 weights with an f32 scale a tensor, a row or a tile of 128 x
 * 128. Inputs stay as they are (W8A16), or are E4M3 too, per token or per tensor, dynamic or static (W8A8).
 */
export function fp8Layout(): QuantizedLayout {
  return {
    name: 'fp8',
    cacheScales: compressedCacheScales,
    refuse,
    caution: cautionConv1d,
    plan: (planned) => {
      const { linear, scheme } = planned;
      const { module, inFeatures, outFeatures } = linear;
      return [
        { name: `${module}.weight`, dtype: 'F8_E4M3', shape: [outFeatures, inFeatures] },
        { name: `${module}.weight_scale`, dtype: 'F32', shape: scaleShape(scheme, [outFeatures, inFeatures]) },
        ...plannedInputScale(planned),
      ];
    },
    encode: (planned, { codes, scales, shape }) => {
      const { linear, scheme } = planned;
      return new Map<string, Tensor>([
        [`${linear.module}.weight`, tensor('f8_e4m3', shape, codes as Uint8Array)],
        [`${linear.module}.weight_scale`, tensor('f32', scaleShape(scheme, shape), scales)],
        ...inputScaleTensors(planned),
      ]);
    },
    config: (modules, kept, record) => compressedConfig('float-quantized', modules, kept, record),
    reader: (config) =>
      config.quant_method === 'compressed-tensors' && config.format === 'float-quantized'
        ? reader(config)
        : config.quant_method === 'fp8'
          ? blockReader(config)
          : undefined,
  };
}

function scaleShape({ granularity }: Scheme, [rows, columns]: readonly number[]): readonly number[] {
  if (granularity.kind === 'block')
    return [Math.ceil(rows / granularity.rows), Math.ceil(columns / granularity.columns)];
  return granularity.kind === 'tensor' ? [1] : [rows, 1];
}

function refuse({ scheme: { format, granularity, scaleStorage }, activation, codebook }: QuantizedModule) {
  const { kind } = granularity;
  if (format.name !== e4m3.name || codebook)
    return `the fp8 layout stores E4M3, not ${codebook ? 'a table of levels' : format.name}: use --weights fp8-row`;
  const tile = kind === 'block' && granularity.rows === 128 && granularity.columns === 128;
  if (kind !== 'tensor' && kind !== 'channel' && !tile)
    return 'the fp8 layout stores a scale per tensor, per channel or for 128 x 128 weights';
  if (scaleStorage.name !== f32Scale.name) return `the fp8 layout stores f32 scales, not ${scaleStorage.name}`;
  if (activation?.bound !== undefined)
    return 'compressed-tensors has no bound on the scales of inputs: use --layout fbgemm-fp8, or leave --input-bound out';
  return activation && refuseFp8Input(activation);
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  return {
    layout: 'fp8',
    cache: cacheScaleReader(config),
    has: (module, tensors) => tensors.has(`${module}.weight_scale`),
    tensors: (module) => ['weight', 'weight_scale', 'input_scale'].map((part) => `${module}.${part}`),
    read: (module, tensors) => readFp8(module, tensors, { suffix: 'weight_scale', tile: [128, 128] }),
    activation: (module, tensors) => readInputs(config, { module, format: e4m3, refuse: refuseFp8Input }, tensors),
  };
}

/**
 * FP8 as in the published DeepSeek-V3 and in files of transformers (`quant_method: fp8`): `weight_scale_inv` multiplies
 * tiles of the weight, usually 128 x 128.
 */
function blockReader(config: Readonly<Record<string, unknown>>): LayoutReader {
  const { fmt = 'e4m3', weight_block_size: size, activation_scheme: inputs } = config;
  const whole = (each: unknown) => Number.isInteger(each) && (each as number) > 0;
  if (size !== undefined && size !== null && !(Array.isArray(size) && size.length === 2 && size.every(whole)))
    throw new FormatError(
      `quantization_config: "weight_block_size" is ${shownValue(size)}; [rows, columns] was expected, such as [128, 128]`,
    );
  if (fmt !== 'e4m3')
    throw new FormatError(`quantization_config: "fmt" is ${shownValue(fmt)}; only e4m3 can be read of fp8 folders`);
  const tile = (size ?? undefined) as readonly [number, number] | undefined;
  return {
    layout: 'fp8',
    ...(inputs === undefined || inputs === null
      ? {}
      : {
          note: `its runtimes also quantize inputs to FP8 (activation_scheme ${shownValue(inputs)}); this toolkit quantizes only the weights`,
        }),
    has: (module, tensors) => tensors.has(`${module}.weight_scale_inv`),
    tensors: (module) => ['weight', 'weight_scale_inv'].map((part) => `${module}.${part}`),
    read: (module, tensors) => readFp8(module, tensors, { suffix: 'weight_scale_inv', ...(tile ? { tile } : {}) }),
  };
}

/** How a layout names and cuts its scales. */
export interface StoredAs {
  readonly suffix: string;
  /** Rows and columns that share a scale; absent: one for the whole weight or for each row. */
  readonly tile?: readonly [number, number];
}

/**
 * Reads E4M3 codes and their scales.
 * @throws FormatError when a code is NaN, or shapes do not fit
 */
export async function readFp8(
  module: string,
  tensors: TensorLookup,
  { suffix, tile }: StoredAs,
): Promise<QuantizedTensor> {
  const shape = shapeOf(tensors, `${module}.weight`, 2);
  const [rows, columns] = shape;
  const codes = await readIntegers<Uint8Array>(tensors, `${module}.weight`, 'f8_e4m3', shape);
  const nan = codes.findIndex((code) => (code & 0x7f) === 0x7f);
  if (nan >= 0) throw new FormatError(`${module}.weight: element ${nan} is NaN: repair the file`);
  await refuseZeroPoints(module, tensors, 'FP8 weights have no zero points');
  const tiles = tile ? [Math.ceil(rows / tile[0]), Math.ceil(columns / tile[1])] : [];
  // A fused expert has its one scale as `[1, 1]`.
  const scale = await readScales(tensors, `${module}.${suffix}`, [[1], [rows, 1], tile ? tiles : [1, 1], []]);
  const granularity =
    scale.values.length === 1 && (scale.shape.length < 2 || !tile)
      ? perTensor
      : `${scale.shape}` === `${[rows, 1]}`
        ? perChannel
        : perBlock(...(tile as readonly [number, number]));
  return {
    scheme: makeScheme({ format: e4m3, granularity, scaleStorage: scale.storage }),
    shape,
    codes,
    scales: scale.values,
  };
}

/** The layout for the command and recipes. */
export const fp8LayoutDeclaration: LayoutDeclaration = {
  name: 'fp8',
  summary: 'compressed-tensors, read by vLLM: FP8 E4M3 weights per tensor, per channel or in tiles, and FP8 inputs',
  options: {},
  defaults: { method: 'rtn', weights: 'fp8-row' },
  make: () => fp8Layout(),
};
