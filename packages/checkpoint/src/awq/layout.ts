import {
  awqOrder,
  encodeF16,
  FormatError,
  perChannel,
  perGroup,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  scheme,
  type Tensor,
  tensor,
  uint4,
} from '@q/core';
import { groupSizeOf } from '../group-size.js';
import { keptHead } from '../kept-head.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';

/**
 * The `gemm` layout of AutoAWQ (docs/reference/file-formats.md#awq): weights of 4 bits, transposed to `[in, out]`,
 * eight columns a word in the order 0,2,4,6,1,3,5,7; zero points in the same form, scales f16 `[groups, out]`. One
 * scheme for all modules: the config has no exceptions.
 */
export function awqLayout(): QuantizedLayout {
  return {
    name: 'awq',
    refuse,
    refuseTogether(modules) {
      const odd = modules.find(({ scheme }) => groupSize(scheme) !== groupSize(modules[0].scheme));
      return odd
        ? `the AWQ layout has one group size for all linears: ${modules[0].linear.module} has ${groupSize(modules[0].scheme)}, ${odd.linear.module} ${groupSize(odd.scheme)}`
        : undefined;
    },
    plan({ linear: { module, inFeatures, outFeatures }, scheme }) {
      const groups = groupCount(scheme, inFeatures);
      return [
        { name: `${module}.qweight`, dtype: 'I32', shape: [inFeatures, outFeatures / 8] },
        { name: `${module}.qzeros`, dtype: 'I32', shape: [groups, outFeatures / 8] },
        { name: `${module}.scales`, dtype: 'F16', shape: [groups, outFeatures] },
      ];
    },
    encode,
    config(modules, kept, record) {
      const first = modules[0]?.scheme;
      if (!first) throw new SchemeError('nothing is quantized: an AWQ folder needs at least one quantized linear');
      const config = {
        quant_method: 'awq',
        bits: 4,
        group_size: groupSize(first),
        zero_point: true,
        version: 'gemm',
        // Readers match it as a part of the name.
        modules_to_not_convert: [...keptHead(modules, record), ...kept],
      };
      return { config, files: new Map() };
    },
    reader: (config) => (config.quant_method === 'awq' ? reader(config) : undefined),
  };
}

const groupSize = ({ granularity }: Scheme) => (granularity.kind === 'group' ? granularity.size : -1);
const groupCount = (scheme: Scheme, inFeatures: number) =>
  groupSize(scheme) === -1 ? 1 : inFeatures / groupSize(scheme);

function refuse({
  linear,
  scheme: { format, granularity, zeroPoint, scaleStorage },
}: QuantizedModule): string | undefined {
  if (format.family !== 'linear' || format.bits !== 4)
    return `the AWQ layout stores integers of 4 bits, not ${format.name}`;
  if (granularity.kind !== 'group' && granularity.kind !== 'channel')
    return `the AWQ layout stores scales per channel or group, not per ${granularity.kind}`;
  if (zeroPoint === 'float') return 'the AWQ layout stores whole zero points, not float ones';
  if (zeroPoint === 'none' ? format.min >= 0 : format.min < 0)
    return `${format.name} with zeroPoint '${zeroPoint}' is not stored by the AWQ layout: use uint4 with 'integer' or int4 with 'none'`;
  if (scaleStorage.name !== 'f16') return `the AWQ layout stores f16 scales, not ${scaleStorage.name}`;
  if (linear.outFeatures % 8 !== 0)
    return `out_features ${linear.outFeatures} is not a multiple of 8, which AWQ words need`;
  if (granularity.kind === 'group' && linear.inFeatures % granularity.size !== 0)
    return `in_features ${linear.inFeatures} is not a multiple of the group size ${granularity.size}, which the AWQ layout needs`;
  return undefined;
}

function encode({ linear, scheme }: QuantizedModule, quantized: QuantizedTensor): Map<string, Tensor> {
  const { module, inFeatures, outFeatures } = linear;
  if (quantized.groupIndex)
    throw new FormatError(
      `${module}: its groups are reordered, and the AWQ layout has no group index: use static groups`,
    );
  const groups = groupCount(scheme, inFeatures);
  const codes = transposeBytes(quantized.codes as Uint8Array, outFeatures, inFeatures);
  const scales = new Float32Array(groups * outFeatures);
  const zeros = new Uint8Array(groups * outFeatures);
  for (let row = 0; row < outFeatures; row++)
    for (let group = 0; group < groups; group++) {
      scales[group * outFeatures + row] = quantized.scales[row * groups + group];
      zeros[group * outFeatures + row] = (quantized.zeroPoints?.[row * groups + group] ?? 0) - scheme.format.min;
    }
  return new Map<string, Tensor>([
    [`${module}.qweight`, tensor('i32', [inFeatures, outFeatures / 8], pack(codes))],
    [`${module}.qzeros`, tensor('i32', [groups, outFeatures / 8], pack(zeros))],
    [`${module}.scales`, tensor('f16', [groups, outFeatures], encodeF16(scales))],
  ]);
}

const pack = (codes: Uint8Array) => new Int32Array(awqOrder.pack(codes).buffer);
const unpack = ({ buffer, byteOffset, byteLength }: Int32Array, count: number) =>
  awqOrder.unpack(new Uint8Array(buffer, byteOffset, byteLength), count);

function transposeBytes(codes: Uint8Array, rows: number, columns: number): Uint8Array {
  const out = new Uint8Array(codes.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = codes[i * columns + j];
  return out;
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  const bits = config.bits ?? config.w_bit;
  const size = groupSizeOf(config.group_size ?? config.q_group_size ?? -1, 'quantization_config');
  // AutoAWQ writes `GEMM`, transformers `gemm`, and both read either.
  const version = typeof config.version === 'string' ? config.version.toLowerCase() : (config.version ?? 'gemm');
  if (bits !== 4 || version !== 'gemm' || config.zero_point === false)
    throw new FormatError(
      `quantization_config: AWQ with bits ${JSON.stringify(bits)}, version ${JSON.stringify(config.version)}, zero_point ${JSON.stringify(config.zero_point)}: only 4 bits, gemm, with zero points can be read`,
    );
  return {
    layout: 'awq',
    has: (module, tensors) => tensors.has(`${module}.qweight`),
    tensors: (module) => ['qweight', 'qzeros', 'scales'].map((part) => `${module}.${part}`),
    read: (module, tensors) => decode(module, tensors, size),
  };
}

async function decode(module: string, tensors: TensorLookup, size: number): Promise<QuantizedTensor> {
  const [inFeatures, words] = shapeOf(tensors, `${module}.qweight`, 2);
  const outFeatures = 8 * words;
  const groups = size === -1 ? 1 : Math.ceil(inFeatures / size);
  for (const [part, shape] of [
    ['qzeros', [groups, words]],
    ['scales', [groups, outFeatures]],
  ] as const) {
    const found = shapeOf(tensors, `${module}.${part}`, 2);
    if (`${found}` !== `${shape}`)
      throw new FormatError(
        `${module}.${part}: shape [${found}] does not fit qweight [${inFeatures}, ${words}] and group size ${size}; [${shape}] was expected`,
      );
  }
  const integers = (part: string, shape: readonly number[]) =>
    readIntegers<Int32Array>(tensors, `${module}.${part}`, 'i32', shape);
  const codes = unpack(await integers('qweight', [inFeatures, words]), inFeatures * outFeatures);
  const packedZeros = unpack(await integers('qzeros', [groups, words]), groups * outFeatures);
  const { values: stored, storage } = await readScales(tensors, `${module}.scales`);
  const scales = new Float32Array(stored.length);
  const zeroPoints = new Float32Array(stored.length);
  for (let row = 0; row < outFeatures; row++)
    for (let group = 0; group < groups; group++) {
      scales[row * groups + group] = stored[group * outFeatures + row];
      zeroPoints[row * groups + group] = packedZeros[group * outFeatures + row];
    }
  return {
    scheme: scheme({
      format: uint4,
      granularity: size === -1 ? perChannel : perGroup(size),
      zeroPoint: 'integer',
      scaleStorage: storage,
    }),
    shape: [outFeatures, inFeatures],
    codes: transposeBytes(codes, inFeatures, outFeatures),
    scales,
    zeroPoints,
  };
}

/** The layout for the command and recipes. */
export const awqLayoutDeclaration: LayoutDeclaration = {
  name: 'awq',
  summary: 'AutoAWQ and vLLM: 4-bit integers',
  options: {},
  make: () => awqLayout(),
};
