import {
  int8,
  scheme as makeScheme,
  perChannel,
  perTensor,
  type QuantizedTensor,
  refuseInt8Input,
  type Tensor,
  tensor,
} from '@q/core';
import { cacheScaleReader, compressedCacheScales } from '../compressed-tensors/cache-scales.js';
import { cautionConv1d, compressedConfig } from '../compressed-tensors/config.js';
import { inputScaleTensors, plannedInputScale, readInputs } from '../compressed-tensors/inputs.js';
import { type StoredScaleType, storedAs } from '../compressed-tensors/stored-scales.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { refuseZeroPoints } from '../refuse-zero-points.js';
import { fromSigned, toSigned } from '../signed-codes.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';

/**
 * 8-bit integers of compressed-tensors, format `int-quantized` (docs/reference/file-formats.md#compressed-tensors):
 * weights per channel or per tensor, with inputs per token or per tensor, dynamic or static (W8A8). vLLM's own layout,
 * also read by transformers.
 */
export function compressedTensorsInt8Layout(): QuantizedLayout {
  return {
    name: 'compressed-tensors-int8',
    cacheScales: compressedCacheScales,
    refuse,
    caution,
    plan: (module) => {
      const { dtype } = storedAs(module.scheme.scaleStorage) as StoredScaleType;
      const { module: name, inFeatures, outFeatures } = module.linear;
      return [
        { name: `${name}.weight`, dtype: 'I8', shape: [outFeatures, inFeatures] },
        { name: `${name}.weight_scale`, dtype, shape: scaleShape(module) },
        ...plannedInputScale(module),
      ];
    },
    encode(module, { codes, scales, shape }) {
      const { module: name } = module.linear;
      const { encode } = storedAs(module.scheme.scaleStorage) as StoredScaleType;
      return new Map<string, Tensor>([
        [`${name}.weight`, tensor('i8', shape, toSigned(codes))],
        [`${name}.weight_scale`, encode(scales, scaleShape(module))],
        ...inputScaleTensors(module),
      ]);
    },
    config: (modules, kept, record) => compressedConfig('int-quantized', modules, kept, record),
    reader: (config) =>
      config.quant_method === 'compressed-tensors' &&
      (config.format === 'int-quantized' || config.format === 'naive-quantized')
        ? reader(config)
        : undefined,
  };
}

const scaleShape = ({ scheme, linear }: QuantizedModule) =>
  scheme.granularity.kind === 'tensor' ? [1] : [linear.outFeatures, 1];

function refuse({ scheme, activation }: QuantizedModule): string | undefined {
  const { kind } = scheme.granularity;
  if (scheme.format.name !== 'int8' || scheme.zeroPoint !== 'none' || (kind !== 'tensor' && kind !== 'channel'))
    return 'the compressed-tensors int8 layout stores symmetric int8 with a scale per tensor or per channel';
  if (!storedAs(scheme.scaleStorage))
    return `the compressed-tensors int8 layout stores f32, f16 or bf16 scales, not ${scheme.scaleStorage.name}`;
  if (activation?.outlierThreshold !== undefined)
    return 'compressed-tensors has no outlier threshold: store LLM.int8() as bitsandbytes-int8';
  return activation && refuseInt8Input(activation);
}

function caution(module: QuantizedModule): string | undefined {
  const { linear, activation } = module;
  if (linear.transposed) return cautionConv1d(module);
  if (!activation) return 'vLLM runs int8 weights only with int8 inputs';
  return activation.scheme.dynamic && activation.scheme.granularity.kind === 'tensor'
    ? 'vLLM has dynamic int8 inputs per token only'
    : undefined;
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  return {
    layout: 'compressed-tensors-int8',
    cache: cacheScaleReader(config),
    has: (module, tensors) => tensors.has(`${module}.weight_scale`),
    tensors: (module) => ['weight', 'weight_scale', 'input_scale'].map((part) => `${module}.${part}`),
    read,
    activation: (module, tensors) => readInputs(config, { module, format: int8, refuse: refuseInt8Input }, tensors),
  };
}

async function read(module: string, tensors: TensorLookup): Promise<QuantizedTensor> {
  const shape = shapeOf(tensors, `${module}.weight`, 2);
  const [rows] = shape;
  const codes = await readIntegers<Int8Array>(tensors, `${module}.weight`, 'i8', shape);
  // Early files store the scales of rows in one dimension.
  const scale = await readScales(tensors, `${module}.weight_scale`, [[1], [rows, 1], [rows], [], [1, 1]]);
  await refuseZeroPoints(module, tensors, 'asymmetric int8 weights cannot be read, only symmetric ones');
  const perRow = scale.values.length === rows && `${scale.shape}` !== '1' && scale.shape.length > 0;
  return {
    scheme: makeScheme({
      format: int8,
      granularity: perRow ? perChannel : perTensor,
      scaleStorage: scale.storage,
    }),
    shape,
    codes: fromSigned(codes),
    scales: scale.values,
  };
}

/** The layout for the command and recipes. */
export const compressedTensorsInt8LayoutDeclaration: LayoutDeclaration = {
  name: 'compressed-tensors-int8',
  summary: 'llm-compressor and vLLM: int8 weights and inputs',
  options: {},
  make: () => compressedTensorsInt8Layout(),
};
