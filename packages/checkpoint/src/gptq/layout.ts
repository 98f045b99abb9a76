import {
  decodeF16,
  encodeF16,
  FormatError,
  f16Scale,
  scheme as makeScheme,
  perChannel,
  perGroup,
  plainStream,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  type StreamKernels,
  signedIntegers,
  type Tensor,
  tensor,
  unsignedIntegers,
} from '@q/core';
import type { LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { packAlongColumns, unpackAlongColumns, unpackRowsTransposed } from './pack.js';

export interface GptqLayoutOptions {
  /**
   * Version 1 (`checkpoint_format: "gptq"`) stores zero points minus one and cannot express zero point 0; version 2
   * (`gptq_v2`) stores them as they are. `auto`: 1 for symmetric schemes, which every engine reads, else 2.
   */
  readonly version?: 1 | 2 | 'auto';
}

const supportedBits = [2, 3, 4, 8];

/** The layout of AutoGPTQ and GPTQModel (formats.md section 2). */
export function gptqLayout(options: GptqLayoutOptions = {}): QuantizedLayout {
  const { version = 'auto' } = options;
  const versionOf = (modules: readonly QuantizedModule[]): 1 | 2 =>
    version !== 'auto' ? version : modules.every(({ scheme }) => scheme.zeroPoint === 'none') ? 1 : 2;
  return {
    name: 'gptq',
    refuse: (module) => refuse(module, version),
    caution({ linear: { inFeatures, outFeatures }, scheme }) {
      const whole = inFeatures % 32 === 0 && outFeatures % 32 === 0;
      return scheme.format.bits === 3 && !whole
        ? 'its last 3-bit words are padded, and most runtimes want multiples of 32 features'
        : undefined;
    },
    plan({ linear: { module, inFeatures, outFeatures }, scheme }) {
      const { bits } = scheme.format;
      const groups = groupCount(scheme, inFeatures);
      return [
        { name: `${module}.qweight`, dtype: 'I32', shape: [Math.ceil((inFeatures * bits) / 32), outFeatures] },
        { name: `${module}.qzeros`, dtype: 'I32', shape: [groups, Math.ceil((outFeatures * bits) / 32)] },
        { name: `${module}.scales`, dtype: 'F16', shape: [groups, outFeatures] },
        { name: `${module}.g_idx`, dtype: 'I32', shape: [inFeatures] },
      ];
    },
    // `auto` goes by the module's own scheme: refuse() keeps modules of both kinds out of one file.
    encode: (module, quantized, stream) => encode(module, quantized, versionOf([module]), stream),
    config(modules, kept, record) {
      const first = modules[0]?.scheme;
      if (!first) throw new SchemeError('nothing is quantized: a GPTQ folder needs at least one quantized linear');
      const config = {
        quant_method: 'gptq',
        bits: first.format.bits,
        group_size: groupSize(first),
        desc_act: modules.some(({ reordered }) => reordered),
        sym: first.zeroPoint === 'none',
        lm_head: modules.some(({ linear }) => linear.module === record.head),
        checkpoint_format: versionOf(modules) === 1 ? 'gptq' : 'gptq_v2',
        pack_dtype: 'int32',
        ...dynamicRules(modules, first, kept),
        // GPTQModel refuses asymmetric version 1 files unless the first entry names itself at 0.9.0 or later.
        meta: { quantizer: ['@q:0.1.0'], method: record.method, ...record.options },
      };
      return { config, files: new Map([['quantize_config.json', `${JSON.stringify(config, null, 2)}\n`]]) };
    },
    reader: (config) => (config.quant_method === 'gptq' ? reader(config) : undefined),
  };
}

function groupSize(scheme: Scheme): number {
  return scheme.granularity.kind === 'group' ? scheme.granularity.size : -1;
}

function groupCount(scheme: Scheme, inFeatures: number): number {
  const size = groupSize(scheme);
  return size === -1 ? 1 : Math.ceil(inFeatures / size);
}

function refuse({ linear, scheme }: QuantizedModule, version: 1 | 2 | 'auto'): string | undefined {
  const { format, granularity, zeroPoint, scaleStorage } = scheme;
  if (format.family !== 'linear' || !supportedBits.includes(format.bits)) {
    return `the GPTQ layout stores integers of ${supportedBits.join(', ')} bits, not ${format.name}`;
  }
  if (granularity.kind !== 'group' && granularity.kind !== 'channel')
    return `the GPTQ layout stores scales per channel or group, not per ${granularity.kind}`;
  if (zeroPoint === 'float') return 'the GPTQ layout stores whole zero points, not float ones';
  if (zeroPoint === 'none' && format.min >= 0) return `a symmetric scheme needs a signed format, not ${format.name}`;
  if (zeroPoint === 'integer' && format.min < 0)
    return `an asymmetric scheme is stored with an unsigned format, not ${format.name}`;
  if (scaleStorage.name !== 'f16') return `the GPTQ layout stores f16 scales, not ${scaleStorage.name}`;
  if (zeroPoint === 'integer' && version === 1) {
    return 'version 1 of the GPTQ layout cannot express zero point 0, which asymmetric schemes have: use version 2';
  }
  // 32 codes of 3 bits fill three words; a ragged end is padded (see caution).
  const granule = format.bits === 3 ? 1 : 32 / format.bits;
  for (const [side, size] of [
    ['in', linear.inFeatures],
    ['out', linear.outFeatures],
  ] as const) {
    if (size % granule !== 0)
      return `${side}_features ${size} is not a multiple of ${granule}, which ${format.bits}-bit GPTQ words need`;
  }
  return undefined;
}

/** Overrides for modules whose scheme is not the first one's, and exclusions for kept linears (formats.md 2.4). */
function dynamicRules(
  modules: readonly QuantizedModule[],
  first: Scheme,
  kept: readonly string[],
): { dynamic?: Record<string, object> } {
  const exact = (module: string) => `^${module.replace(/[.]/g, '\\.')}$`;
  const rules: Record<string, object> = {};
  for (const module of kept) rules[`-:${exact(module)}`] = {};
  for (const { linear, scheme } of modules) {
    const same =
      scheme.format.bits === first.format.bits &&
      groupSize(scheme) === groupSize(first) &&
      scheme.zeroPoint === first.zeroPoint;
    if (!same)
      rules[`+:${exact(linear.module)}`] = {
        bits: scheme.format.bits,
        group_size: groupSize(scheme),
        sym: scheme.zeroPoint === 'none',
      };
  }
  return Object.keys(rules).length > 0 ? { dynamic: rules } : {};
}

function encode(
  { linear, scheme }: QuantizedModule,
  quantized: QuantizedTensor,
  version: 1 | 2,
  stream: StreamKernels = plainStream,
): Map<string, Tensor> {
  const { module, inFeatures, outFeatures } = linear;
  const { bits, min } = scheme.format;
  const groups = groupCount(scheme, inFeatures);
  const size = groupSize(scheme) === -1 ? inFeatures : groupSize(scheme);
  const scales = new Float32Array(groups * outFeatures);
  const zeros = new Uint8Array(groups * outFeatures);
  for (let row = 0; row < outFeatures; row++) {
    for (let group = 0; group < groups; group++) {
      scales[group * outFeatures + row] = quantized.scales[row * groups + group];
      // Codes are offset binary, so a symmetric grid has its zero at -min. Version 1 stores one less, modulo 2^bits.
      const zero = (quantized.zeroPoints?.[row * groups + group] ?? 0) - min;
      zeros[group * outFeatures + row] = (zero - (version === 1 ? 1 : 0)) & (2 ** bits - 1);
    }
  }
  const groupOf = quantized.groupIndex ?? Int32Array.from({ length: inFeatures }, (_, i) => Math.floor(i / size));
  // Codes are `[out, in]` in memory and packed along `in`: each row is one stream, so nothing is transposed but its words.
  const height = Math.ceil((inFeatures * bits) / 32);
  const words = new Int32Array(height * outFeatures);
  const codes = quantized.codes as Uint8Array;
  stream.packTransposed({ codes, rows: outFeatures, columns: inFeatures, bits, words });
  return new Map<string, Tensor>([
    [`${module}.qweight`, tensor('i32', [height, outFeatures], words)],
    [
      `${module}.qzeros`,
      tensor('i32', [groups, Math.ceil((outFeatures * bits) / 32)], packAlongColumns(zeros, groups, outFeatures, bits)),
    ],
    [`${module}.scales`, tensor('f16', [groups, outFeatures], encodeF16(scales))],
    [`${module}.g_idx`, tensor('i32', [inFeatures], groupOf)],
  ]);
}

interface ModuleConfig {
  readonly bits: number;
  readonly size: number;
  readonly symmetric: boolean;
}

function reader(config: Readonly<Record<string, unknown>>): LayoutReader {
  const base: ModuleConfig = {
    bits: Number(config.bits ?? config.w_bit),
    size: Number(config.group_size ?? config.q_group_size ?? -1),
    symmetric: config.sym !== false,
  };
  if (!supportedBits.includes(base.bits)) {
    throw new FormatError(`quantization_config: bits is ${config.bits}, a GPTQ folder has ${supportedBits.join(', ')}`);
  }
  const version = (config.checkpoint_format ?? config.format) === 'gptq_v2' ? 2 : 1;
  const overrides = Object.entries(
    (config.dynamic ?? {}) as Record<string, { bits?: number; group_size?: number; sym?: boolean }>,
  )
    .filter(([key]) => !key.startsWith('-:'))
    .map(([key, value]) => ({ pattern: new RegExp(`^(?:${key.replace(/^\+:/, '')})`), value }));
  const settings = (module: string): ModuleConfig => {
    const override = overrides.find(({ pattern }) => pattern.test(module))?.value;
    return {
      bits: override?.bits ?? base.bits,
      size: override?.group_size ?? base.size,
      symmetric: override?.sym ?? base.symmetric,
    };
  };
  return {
    layout: 'gptq',
    has: (module, tensors) => tensors.has(`${module}.qweight`),
    tensors: (module) => ['qweight', 'qzeros', 'scales', 'g_idx'].map((part) => `${module}.${part}`),
    read: (module, tensors) => decode(module, tensors, settings(module), version),
  };
}

async function decode(
  module: string,
  tensors: TensorLookup,
  { bits, size, symmetric: declaredSymmetric }: ModuleConfig,
  version: 1 | 2,
): Promise<QuantizedTensor> {
  const [groups, outFeatures] = tensors.shape(`${module}.scales`);
  const words = tensors.shape(`${module}.qweight`)[0];
  const inFeatures = tensors.has(`${module}.g_idx`)
    ? tensors.shape(`${module}.g_idx`)[0]
    : Math.floor((words * 32) / bits);
  const expected: [string, readonly number[]][] = [
    ['qweight', [Math.ceil((inFeatures * bits) / 32), outFeatures]],
    ['qzeros', [groups, Math.ceil((outFeatures * bits) / 32)]],
  ];
  for (const [part, shape] of expected) {
    const found = tensors.shape(`${module}.${part}`);
    if (`${found}` !== `${shape}`)
      throw new FormatError(
        `${module}.${part}: shape [${found}] does not fit ${bits} bits and [${groups}, ${outFeatures}] scales; [${shape}] was expected`,
      );
  }
  const stored = decodeF16((await tensors.read(`${module}.scales`)).data as Uint16Array);
  const packedZeros = unpackAlongColumns(
    (await tensors.read(`${module}.qzeros`)).data as Int32Array,
    groups,
    outFeatures,
    bits,
  );
  const codes = unpackRowsTransposed(
    (await tensors.read(`${module}.qweight`)).data as Int32Array,
    outFeatures,
    inFeatures,
    bits,
  );
  const scales = new Float32Array(stored.length);
  const zeroPoints = new Float32Array(stored.length);
  const mask = 2 ** bits - 1;
  const middle = 2 ** (bits - 1);
  for (let row = 0; row < outFeatures; row++) {
    for (let group = 0; group < groups; group++) {
      scales[row * groups + group] = stored[group * outFeatures + row];
      const zero = packedZeros[group * outFeatures + row];
      zeroPoints[row * groups + group] = version === 1 ? (zero + 1) & mask : zero;
    }
  }
  // What the zero points say counts, not what the config says of them.
  const symmetric = declaredSymmetric && zeroPoints.every((zero) => zero === middle);
  const format = (symmetric ? signedIntegers : unsignedIntegers)[bits - 2];
  const width = size === -1 ? inFeatures : size;
  const groupIndex = tensors.has(`${module}.g_idx`)
    ? ((await tensors.read(`${module}.g_idx`)).data as Int32Array)
    : undefined;
  const bad = groupIndex?.findIndex((group) => group < 0 || group >= groups) ?? -1;
  if (bad >= 0)
    throw new FormatError(`${module}.g_idx: entry ${bad} is ${groupIndex?.[bad]}, groups run from 0 to ${groups - 1}`);
  const plain = !groupIndex || groupIndex.every((group, i) => group === Math.floor(i / width));
  return {
    scheme: makeScheme({
      format,
      granularity: size === -1 ? perChannel : perGroup(size),
      zeroPoint: symmetric ? 'none' : 'integer',
      scaleStorage: f16Scale,
    }),
    shape: [outFeatures, inFeatures],
    codes,
    scales,
    ...(symmetric ? {} : { zeroPoints }),
    ...(plain ? {} : { groupIndex }),
  };
}
