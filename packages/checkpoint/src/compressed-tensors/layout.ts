import {
  FormatError,
  scheme as makeScheme,
  packWords32,
  perChannel,
  perGroup,
  type QuantizedTensor,
  type Scheme,
  signedIntegers,
  type Tensor,
  tensor,
  unpackWords32,
  unsignedIntegers,
} from '@q/core';
import { packAlongColumns, unpackAlongColumns } from '../gptq/pack.js';
import { groupSizeOf } from '../group-size.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { refuseZeroPoints } from '../refuse-zero-points.js';
import { shownValue } from '../shown-value.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';
import { cacheScaleReader, compressedCacheScales } from './cache-scales.js';
import { cautionConv1d, compressedConfig, groupOf } from './config.js';
import { type StoredScaleType, storedAs } from './stored-scales.js';

/** Widths that are written: their codes never cross a word, so every release of the library packs them in the same way. */
const supportedBits = [2, 4, 8];
/** Widths that are read: release 0.19 lets codes cross words, as here; early releases left bits of a word unused. */
const readBits = [2, 3, 4, 5, 6, 7, 8];
/** Group sizes and multiples of vLLM's Marlin kernels, which run these files on its usual GPUs. */
const marlin = { groups: [32, 64, 128], outFeatures: 64, inFeatures: 128 };

/**
 * Integer weights of compressed-tensors, format `pack-quantized` (W4A16, W8A16): codes in 32-bit words along the rows,
 * scales `[out, groups]`, zero points packed along the columns. The layout of llm-compressor, read by vLLM, SGLang and
 * transformers.
 */
export function compressedTensorsLayout(): QuantizedLayout {
  return {
    name: 'compressed-tensors',
    cacheScales: compressedCacheScales,
    refuse,
    caution,
    plan({ linear: { module, inFeatures, outFeatures }, scheme }) {
      const { bits } = scheme.format;
      const groups = groupCount(scheme, inFeatures);
      const { dtype } = storedAs(scheme.scaleStorage) as StoredScaleType;
      return [
        { name: `${module}.weight_packed`, dtype: 'I32', shape: [outFeatures, wordsOf(inFeatures, bits)] },
        { name: `${module}.weight_scale`, dtype, shape: [outFeatures, groups] },
        { name: `${module}.weight_shape`, dtype: 'I64', shape: [2] },
        ...(scheme.zeroPoint === 'none'
          ? []
          : [
              {
                name: `${module}.weight_zero_point`,
                dtype: 'I32' as const,
                shape: [wordsOf(outFeatures, bits), groups],
              },
            ]),
      ];
    },
    encode,
    config: (modules, kept, record) => compressedConfig('pack-quantized', modules, kept, record),
    reader: (config) =>
      config.quant_method === 'compressed-tensors' && config.format === 'pack-quantized' ? reader(config) : undefined,
  };
}

const wordsOf = (count: number, bits: number) => Math.ceil((count * bits) / 32);

const groupCount = ({ granularity }: Scheme, inFeatures: number) =>
  granularity.kind === 'group' ? inFeatures / granularity.size : 1;

function refuse({ linear, scheme, activation, codebook }: QuantizedModule): string | undefined {
  const { format, granularity, zeroPoint, scaleStorage } = scheme;
  if (format.family !== 'linear' || !supportedBits.includes(format.bits) || codebook)
    return `the compressed-tensors layout stores integers of ${supportedBits.join(', ')} bits, not ${codebook ? 'a table of levels' : format.name}`;
  if (granularity.kind !== 'group' && granularity.kind !== 'channel')
    return `the compressed-tensors layout stores scales per channel or group, not per ${granularity.kind}`;
  if (zeroPoint === 'float') return 'the compressed-tensors layout stores whole zero points, not float ones';
  if (zeroPoint === 'none' ? format.min >= 0 : format.min < 0)
    return `${format.name} with zeroPoint '${zeroPoint}' is not stored by the compressed-tensors layout: use uint4 with 'integer' or int4 with 'none'`;
  if (!storedAs(scaleStorage))
    return `the compressed-tensors layout stores f32, f16 or bf16 scales, not ${scaleStorage.name}`;
  if (granularity.kind === 'group' && linear.inFeatures % granularity.size !== 0)
    return `in_features ${linear.inFeatures} is not a multiple of the group size ${granularity.size}, which readers of compressed-tensors need`;
  return activation
    ? 'the compressed-tensors layout stores weights alone: use compressed-tensors-int8 for int8 inputs'
    : undefined;
}

function caution(module: QuantizedModule): string | undefined {
  const {
    linear,
    scheme: { format, granularity, zeroPoint },
  } = module;
  if (linear.transposed) return cautionConv1d(module);
  if (format.bits === 2) return 'vLLM and SGLang run compressed-tensors weights of 4 and 8 bits, not of 2';
  if (format.bits === 8 && zeroPoint !== 'none')
    return 'vLLM and SGLang run 8-bit compressed-tensors weights without zero points only: use --symmetric';
  if (granularity.kind === 'group' && !marlin.groups.includes(granularity.size))
    return `the Marlin kernels of vLLM and SGLang take groups of ${marlin.groups.join(', ')} or whole rows, not of ${granularity.size}`;
  if (linear.outFeatures % marlin.outFeatures !== 0 || linear.inFeatures % marlin.inFeatures !== 0)
    return `[${linear.outFeatures}, ${linear.inFeatures}] is not a multiple of [${marlin.outFeatures}, ${marlin.inFeatures}], which the Marlin kernels of vLLM and SGLang take: a slower kernel may run it, or none`;
  return zeroPoint === 'none'
    ? undefined
    : 'vLLM reads packed zero points; transformers 5.24 with compressed-tensors 0.20 does not load them: use --symmetric for it';
}

function encode({ linear, scheme }: QuantizedModule, quantized: QuantizedTensor): Map<string, Tensor> {
  const { module, inFeatures, outFeatures } = linear;
  if (quantized.groupIndex)
    throw new FormatError(
      `${module}: its groups are reordered, and current readers of compressed-tensors take no group index: use static groups`,
    );
  const { bits, min } = scheme.format;
  const groups = groupCount(scheme, inFeatures);
  const { encode: encodeScales } = storedAs(scheme.scaleStorage) as StoredScaleType;
  const words = packAlongColumns(quantized.codes as Uint8Array, outFeatures, inFeatures, bits);
  const tensors = new Map<string, Tensor>([
    [`${module}.weight_packed`, tensor('i32', [outFeatures, wordsOf(inFeatures, bits)], words)],
    [`${module}.weight_scale`, encodeScales(quantized.scales, [outFeatures, groups])],
    [`${module}.weight_shape`, tensor('i64', [2], BigInt64Array.of(BigInt(outFeatures), BigInt(inFeatures)))],
  ]);
  if (scheme.zeroPoint !== 'none') {
    const zeros = Uint8Array.from(quantized.zeroPoints as Float32Array, (zero) => zero - min);
    tensors.set(`${module}.weight_zero_point`, packAlongRows(zeros, outFeatures, groups, bits));
  }
  return tensors;
}

/** `[rows, columns]` packed along the rows: -> `[ceil(rows*bits/32), columns]`. */
function packAlongRows(codes: Uint8Array, rows: number, columns: number, bits: number): Tensor<'i32'> {
  const height = wordsOf(rows, bits);
  const out = new Int32Array(height * columns);
  const column = new Uint8Array(rows);
  const words = new Uint32Array(height);
  for (let j = 0; j < columns; j++) {
    for (let i = 0; i < rows; i++) column[i] = codes[i * columns + j];
    packWords32(column, bits, words);
    for (let i = 0; i < height; i++) out[i * columns + j] = words[i];
  }
  return tensor('i32', [height, columns], out);
}

/** Inverse of {@link packAlongRows}. */
function unpackAlongRows(packed: Int32Array, rows: number, columns: number, bits: number): Uint8Array {
  const height = wordsOf(rows, bits);
  const out = new Uint8Array(rows * columns);
  const column = new Uint8Array(rows);
  const words = new Uint32Array(height);
  for (let j = 0; j < columns; j++) {
    for (let i = 0; i < height; i++) words[i] = packed[i * columns + j];
    unpackWords32(words, bits, rows, column);
    for (let i = 0; i < rows; i++) out[i * columns + j] = column[i];
  }
  return out;
}

interface ModuleConfig {
  readonly bits: number;
  readonly symmetric: boolean;
  /** -1: one scale for each row. */
  readonly size: number;
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  return {
    layout: 'compressed-tensors',
    cache: cacheScaleReader(config),
    has: (module, tensors) => tensors.has(`${module}.weight_packed`),
    tensors: (module) =>
      ['weight_packed', 'weight_scale', 'weight_shape', 'weight_zero_point', 'weight_g_idx'].map(
        (part) => `${module}.${part}`,
      ),
    read: (module, tensors) => read(module, tensors, settings(config, module)),
  };
}

/** @throws FormatError naming the module and the setting that cannot be read */
function settings(config: Readonly<Record<string, unknown>>, module: string): ModuleConfig {
  const group = groupOf(config, module);
  if (!group?.weights)
    throw new FormatError(
      `quantization_config: no group of config_groups has ${module}, whose codes are packed: its bits are not known`,
    );
  if (group.input_activations)
    throw new FormatError(
      `${module}: its weights are packed and its inputs are quantized, which cannot be run: packed weights alone can`,
    );
  const { num_bits: bits = 8, type = 'int', symmetric = true, group_size: size = null } = group.weights;
  const { strategy = size === null || size === -1 ? 'channel' : 'group' } = group.weights;
  if (type !== 'int' || !readBits.includes(bits as number) || (strategy !== 'group' && strategy !== 'channel'))
    throw new FormatError(
      `${module}: packed weights of ${shownValue(bits)} bits, ${shownValue(type)}, per ${shownValue(strategy)} cannot be read; integers of ${readBits.join(', ')} bits per group or channel can`,
    );
  return {
    bits: bits as number,
    symmetric: symmetric !== false,
    size: strategy === 'channel' ? -1 : groupSizeOf(size, `quantization_config: the group of ${module}`),
  };
}

async function read(
  module: string,
  tensors: TensorLookup,
  { bits, symmetric, size }: ModuleConfig,
): Promise<QuantizedTensor> {
  const stated = await readIntegers<BigInt64Array>(tensors, `${module}.weight_shape`, 'i64', [2]);
  const packed = shapeOf(tensors, `${module}.weight_packed`, 2);
  const [outFeatures, inFeatures] = Array.from(stated, Number);
  if (packed[1] !== wordsOf(inFeatures, bits) && packed[1] === Math.ceil(inFeatures / Math.floor(32 / bits)))
    throw new FormatError(
      `${module}.weight_packed: ${Math.floor(32 / bits)} codes of ${bits} bits in each word, as old releases of compressed-tensors wrote them, cannot be read: quantize the original model with a current release`,
    );
  if (packed[0] !== outFeatures || packed[1] !== wordsOf(inFeatures, bits))
    throw new FormatError(
      `${module}.weight_packed: shape [${packed}] does not fit weight_shape [${[outFeatures, inFeatures]}] at ${bits} bits; [${[outFeatures, wordsOf(inFeatures, bits)]}] was expected`,
    );
  const words = await readIntegers<Int32Array>(tensors, `${module}.weight_packed`, 'i32', packed);
  const groups = size === -1 ? 1 : Math.ceil(inFeatures / size);
  const { values: scales, storage } = await readScales(tensors, `${module}.weight_scale`, [
    [outFeatures, groups],
    ...(groups === 1 ? [[outFeatures]] : []),
  ]);
  if (symmetric) await refuseZeroPoints(module, tensors, 'config.json says that the weights are symmetric');
  const zeros = symmetric
    ? undefined
    : unpackAlongRows(
        await readIntegers<Int32Array>(tensors, `${module}.weight_zero_point`, 'i32', [
          wordsOf(outFeatures, bits),
          groups,
        ]),
        outFeatures,
        groups,
        bits,
      );
  const groupIndex = await readGroupIndex(module, tensors, inFeatures, size, groups);
  return {
    scheme: makeScheme({
      format: (symmetric ? signedIntegers : unsignedIntegers)[bits - 2],
      granularity: size === -1 ? perChannel : perGroup(size),
      zeroPoint: symmetric ? 'none' : 'integer',
      scaleStorage: storage,
    }),
    shape: [outFeatures, inFeatures],
    codes: unpackAlongColumns(words, outFeatures, inFeatures, bits),
    scales,
    ...(zeros ? { zeroPoints: Float32Array.from(zeros) } : {}),
    ...(groupIndex ? { groupIndex } : {}),
  };
}

/**
 * Files of act-order without static groups have a group for each column; undefined for groups of consecutive columns.
 */
async function readGroupIndex(
  module: string,
  tensors: TensorLookup,
  inFeatures: number,
  size: number,
  groups: number,
): Promise<Int32Array | undefined> {
  const name = `${module}.weight_g_idx`;
  if (!tensors.has(name)) return undefined;
  const index = await readIntegers<Int32Array>(tensors, name, 'i32', [inFeatures]);
  // -1 means that columns are in their own order.
  if (index.every((group, i) => group === -1 || group === (size === -1 ? 0 : Math.floor(i / size)))) return undefined;
  const bad = index.findIndex((group) => group < 0 || group >= groups);
  if (bad >= 0) throw new FormatError(`${name}: entry ${bad} is ${index[bad]}, groups run from 0 to ${groups - 1}`);
  return index;
}

/** The layout for the command and recipes. */
export const compressedTensorsLayoutDeclaration: LayoutDeclaration = {
  name: 'compressed-tensors',
  summary: 'llm-compressor, vLLM and SGLang: integer weights of 4 and 8 bits (W4A16, W8A16)',
  options: {},
  // The defaults that every reader accepts: transformers does not load packed zero points.
  defaults: { symmetric: true },
  make: () => compressedTensorsLayout(),
};
