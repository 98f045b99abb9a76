import {
  type ActivationScheme,
  bf16Scale,
  encodeBf16,
  encodeF16,
  FormatError,
  f16Scale,
  f32Scale,
  int8,
  scheme as makeScheme,
  perChannel,
  perTensor,
  type QuantizedTensor,
  refuseInt8Input,
  type ScaleStorage,
  SchemeError,
  type Tensor,
  tensor,
  toF32,
} from '@q/core';
import type { FileDtype } from '@q/safetensors';
import { keptHead } from '../kept-head.js';
import type { LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { fromSigned, toSigned } from '../signed-codes.js';
import { configGroups, inputSchemeOf } from './config.js';

interface StoredAs {
  readonly dtype: FileDtype;
  readonly storage: ScaleStorage;
  encode(scales: Float32Array, shape: readonly number[]): Tensor;
}

/** How scales of each storage are written. */
const stored: readonly StoredAs[] = [
  { dtype: 'F32', storage: f32Scale, encode: (scales, shape) => tensor('f32', shape, scales) },
  { dtype: 'F16', storage: f16Scale, encode: (scales, shape) => tensor('f16', shape, encodeF16(scales)) },
  { dtype: 'BF16', storage: bf16Scale, encode: (scales, shape) => tensor('bf16', shape, encodeBf16(scales)) },
];
const storedAs = (storage: ScaleStorage) => stored.find((each) => each.storage.name === storage.name);

/**
 * 8-bit integers of compressed-tensors, format `int-quantized` (formats.md 4): weights per channel or per tensor, with inputs
 * per token or per tensor, dynamic or static (W8A8). vLLM's own layout, also read by transformers.
 */
export function compressedTensorsInt8Layout(): QuantizedLayout {
  return {
    name: 'compressed-tensors-int8',
    refuse,
    caution,
    plan: (module) => {
      const { dtype } = storedAs(module.scheme.scaleStorage) as StoredAs;
      const { module: name, inFeatures, outFeatures } = module.linear;
      return [
        { name: `${name}.weight`, dtype: 'I8', shape: [outFeatures, inFeatures] },
        { name: `${name}.weight_scale`, dtype, shape: scaleShape(module) },
        ...(hasStaticScale(module) ? [{ name: `${name}.input_scale`, dtype: 'F32' as const, shape: [1] }] : []),
      ];
    },
    encode(module, { codes, scales, shape }) {
      const { module: name } = module.linear;
      const { encode } = storedAs(module.scheme.scaleStorage) as StoredAs;
      const tensors = new Map<string, Tensor>([
        [`${name}.weight`, tensor('i8', shape, toSigned(codes))],
        [`${name}.weight_scale`, encode(scales, scaleShape(module))],
      ]);
      if (hasStaticScale(module)) {
        const scale = module.activation?.scale;
        if (scale === undefined) throw new SchemeError(`${name}: its static input scale was not calibrated`);
        tensors.set(`${name}.input_scale`, tensor('f32', [1], Float32Array.of(scale)));
      }
      return tensors;
    },
    config(modules, kept, record) {
      return {
        config: {
          quant_method: 'compressed-tensors',
          format: 'int-quantized',
          quantization_status: 'compressed',
          config_groups: configGroups(modules),
          ignore: [...keptHead(modules, record), ...kept],
          kv_cache_scheme: null,
        },
        files: new Map(),
      };
    },
    reader: (config) =>
      config.quant_method === 'compressed-tensors' &&
      (config.format === 'int-quantized' || config.format === 'naive-quantized')
        ? reader(config)
        : undefined,
  };
}

const hasStaticScale = ({ activation }: QuantizedModule) => activation !== undefined && !activation.scheme.dynamic;

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

function caution({ linear, activation }: QuantizedModule): string | undefined {
  if (linear.transposed)
    return 'compressed-tensors looks for linears, and transformers builds this architecture with Conv1D: the folder runs here, not there';
  if (!activation) return 'vLLM runs int8 weights only with int8 inputs';
  return activation.scheme.dynamic && activation.scheme.granularity.kind === 'tensor'
    ? 'vLLM has dynamic int8 inputs per token only'
    : undefined;
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  return {
    layout: 'compressed-tensors-int8',
    has: (module, tensors) => tensors.has(`${module}.weight_scale`),
    tensors: (module) => ['weight', 'weight_scale', 'input_scale'].map((part) => `${module}.${part}`),
    read,
    activation: (module, tensors) => readActivation(config, module, tensors),
  };
}

async function read(module: string, tensors: TensorLookup): Promise<QuantizedTensor> {
  const weight = await tensors.read(`${module}.weight`);
  const scale = await tensors.read(`${module}.weight_scale`);
  if (weight.dtype !== 'i8' || weight.shape.length !== 2)
    throw new FormatError(
      `${module}.weight: ${weight.dtype} [${weight.shape}] beside weight_scale; i8 [out, in] was expected`,
    );
  if (tensors.has(`${module}.weight_zero_point`))
    throw new FormatError(`${module}.weight_zero_point: asymmetric int8 weights cannot be read, only symmetric ones`);
  const perRow = `${scale.shape}` === `${weight.shape[0]},1`;
  if (!perRow && scale.data.length !== 1)
    throw new FormatError(
      `${module}.weight_scale: shape [${scale.shape}] does not fit a weight [${weight.shape}]; [1] or [${weight.shape[0]}, 1] was expected`,
    );
  const scales = toF32(scale);
  const bad = scales.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new FormatError(`${module}.weight_scale: element ${bad} is ${scales[bad]}`);
  const storage = stored.find(({ storage }) => storage.name === scale.dtype)?.storage ?? f32Scale;
  return {
    scheme: makeScheme({ format: int8, granularity: perRow ? perChannel : perTensor, scaleStorage: storage }),
    shape: weight.shape,
    codes: fromSigned(weight.data as Int8Array),
    scales,
  };
}

async function readActivation(
  config: Readonly<Record<string, unknown>>,
  module: string,
  tensors: TensorLookup,
): Promise<ActivationScheme | undefined> {
  const inputs = inputSchemeOf(config, module);
  if (!inputs || inputs.scheme.dynamic) return inputs;
  if (!tensors.has(`${module}.input_scale`))
    throw new FormatError(`${module}.input_scale: is absent; config.json says that its inputs have a static scale`);
  const [scale] = toF32(await tensors.read(`${module}.input_scale`));
  const activation = { ...inputs, scale };
  const refusal = refuseInt8Input(activation);
  if (refusal) throw new FormatError(`${module}.input_scale: ${refusal}`);
  return activation;
}
