import {
  checkOptions,
  encodeF16,
  FormatError,
  integer,
  scheme as makeScheme,
  type OptionValues,
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
import { groupSizeOf } from '../group-size.js';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { outsidePattern } from '../outside-pattern.js';
import { statedNumber } from '../stated-number.js';
import { readIntegers, readScales, shapeOf } from '../stored-values.js';
import { packAlongColumns, unpackAlongColumns, unpackRowsTransposed } from './pack.js';

const gptqLayoutOptions = {
  /**
   * Version 1 (`checkpoint_format: "gptq"`) stores zero points minus one and cannot express zero point 0; version 2
   * (`gptq_v2`) stores them as they are. `auto`: 1 for symmetric schemes, which every engine reads, else 2.
   */
  version: integer({
    min: 1,
    max: 2,
    or: ['auto'],
    default: 'auto',
    help: 'Version of the layout: 1 when symmetric, else 2, or a fixed one.',
  }),
};

export type GptqLayoutOptions = OptionValues<typeof gptqLayoutOptions>;

const supportedBits = [2, 3, 4, 8];

/** Group sizes that GPTQModel, vLLM and ExLlama refuse, with a suggestion. */
function raggedGroup(inFeatures: number, size: number): string {
  const fitting = [128, 64, 32, 16].find((each) => inFeatures % each === 0);
  const choice = fitting ? `groups of ${fitting}` : 'a scale per channel';
  return `${inFeatures} input features are not a multiple of the group size ${size}, and most loaders of the gptq layout refuse a shorter last group: choose ${choice}, or keep it with a rule`;
}

/** The layout of AutoGPTQ and GPTQModel (docs/reference/file-formats.md#gptq). */
export function gptqLayout(options: GptqLayoutOptions = {}): QuantizedLayout {
  const { version } = checkOptions('gptq layout', gptqLayoutOptions, options) as { version: 1 | 2 | 'auto' };
  const versionOf = (modules: readonly QuantizedModule[]): 1 | 2 =>
    version !== 'auto' ? version : modules.every(({ scheme }) => scheme.zeroPoint === 'none') ? 1 : 2;
  return {
    name: 'gptq',
    refuse: (module) => refuse(module, version),
    caution({ linear: { inFeatures, outFeatures }, scheme }) {
      const { granularity } = scheme;
      if (granularity.kind === 'group' && inFeatures % granularity.size !== 0)
        return raggedGroup(inFeatures, granularity.size);
      const whole = inFeatures % 32 === 0 && outFeatures % 32 === 0;
      return scheme.format.bits === 3 && !whole
        ? 'its last 3-bit words are padded, and most runtimes need multiples of 32 features'
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
    // `auto` follows the module's own scheme: refuse() prevents modules of both kinds in one file.
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
        // GPTQModel refuses asymmetric version 1 files unless the first entry names itself with version 0.9.0 or later.
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

/**
 * Overrides for modules whose scheme is not the first one's, and exclusions for kept linears
 * (docs/reference/file-formats.md#config-of-gptq).
 */
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
  // Codes are `[out, in]` in memory and packed along `in`: each row is one stream, so only its words are transposed.
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
    bits: statedNumber(config.bits ?? config.w_bit),
    size: groupSizeOf(config.group_size ?? config.q_group_size ?? -1, 'quantization_config'),
    symmetric: config.sym !== false,
  };
  if (!supportedBits.includes(base.bits)) {
    throw new FormatError(
      `quantization_config: bits is ${JSON.stringify(config.bits)}, a GPTQ folder has ${supportedBits.join(', ')}`,
    );
  }
  const version = (config.checkpoint_format ?? config.format) === 'gptq_v2' ? 2 : 1;
  const overrides = readOverrides(config.dynamic);
  const settings = (module: string): ModuleConfig => ({
    ...base,
    ...overrides.find(({ matches }) => matches(module))?.settings,
  });
  return {
    layout: 'gptq',
    has: (module, tensors) => tensors.has(`${module}.qweight`),
    tensors: (module) => ['qweight', 'qzeros', 'scales', 'g_idx'].map((part) => `${module}.${part}`),
    read: (module, tensors) => decode(module, tensors, settings(module), version),
  };
}

/** `dynamic`: expressions of module names with their differences; `-:` names modules that are not quantized. */
function readOverrides(
  dynamic: unknown,
): { readonly matches: (module: string) => boolean; readonly settings: Partial<ModuleConfig> }[] {
  if (dynamic === undefined || dynamic === null || dynamic === false) return [];
  const where = 'quantization_config: dynamic';
  if (typeof dynamic !== 'object' || Array.isArray(dynamic))
    throw new FormatError(`${where}: an object of expressions was expected, found ${JSON.stringify(dynamic)}`);
  return Object.entries(dynamic)
    .filter(([key]) => !key.startsWith('-:'))
    .map(([key, value]) => {
      const own = (value ?? {}) as Record<string, unknown>;
      const { bits, group_size: size, sym } = own;
      if (bits !== undefined && !supportedBits.includes(bits as number))
        throw new FormatError(
          `${where}: ${JSON.stringify(key)} has bits ${JSON.stringify(bits)}; ${supportedBits.join(', ')} can be read`,
        );
      return {
        matches: outsidePattern(key.replace(/^\+:/, ''), where),
        settings: {
          ...(bits === undefined ? {} : { bits: bits as number }),
          ...(size === undefined ? {} : { size: groupSizeOf(size, where) }),
          ...(sym === undefined ? {} : { symmetric: sym !== false }),
        },
      };
    });
}

async function decode(
  module: string,
  tensors: TensorLookup,
  { bits, size, symmetric: declaredSymmetric }: ModuleConfig,
  version: 1 | 2,
): Promise<QuantizedTensor> {
  const [groups, outFeatures] = shapeOf(tensors, `${module}.scales`, 2);
  const [words] = shapeOf(tensors, `${module}.qweight`, 2);
  const indexed = tensors.has(`${module}.g_idx`);
  const inFeatures = indexed ? shapeOf(tensors, `${module}.g_idx`, 1)[0] : Math.floor((words * 32) / bits);
  const whole = size === -1 || size >= inFeatures ? 1 : Math.ceil(inFeatures / size);
  if (groups !== whole)
    throw new FormatError(
      `${module}.scales: has ${groups} rows; ${inFeatures} input features in groups of ${size} have ${whole}: the group_size of the quantization config is not that of the file`,
    );
  const packed = [Math.ceil((inFeatures * bits) / 32), outFeatures];
  const packedZero = [groups, Math.ceil((outFeatures * bits) / 32)];
  for (const [part, shape] of [['qweight', packed] as const, ['qzeros', packedZero] as const]) {
    const found = shapeOf(tensors, `${module}.${part}`, 2);
    if (`${found}` !== `${shape}`)
      throw new FormatError(
        `${module}.${part}: shape [${found}] does not fit ${bits} bits and [${groups}, ${outFeatures}] scales; [${shape}] was expected`,
      );
  }
  const words32 = await readIntegers<Int32Array>(tensors, `${module}.qweight`, 'i32', packed);
  const zeros = await readIntegers<Int32Array>(tensors, `${module}.qzeros`, 'i32', packedZero);
  const { values: stored, storage } = await readScales(tensors, `${module}.scales`);
  const packedZeros = unpackAlongColumns(zeros, groups, outFeatures, bits);
  const codes = unpackRowsTransposed(words32, outFeatures, inFeatures, bits);
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
  // The zero points in the file decide, not the statement of the config.
  const symmetric = declaredSymmetric && zeroPoints.every((zero) => zero === middle);
  const format = (symmetric ? signedIntegers : unsignedIntegers)[bits - 2];
  const width = size === -1 ? inFeatures : size;
  const groupIndex = indexed
    ? await readIntegers<Int32Array>(tensors, `${module}.g_idx`, 'i32', [inFeatures])
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
      scaleStorage: storage,
    }),
    shape: [outFeatures, inFeatures],
    codes,
    scales,
    ...(symmetric ? {} : { zeroPoints }),
    ...(plain ? {} : { groupIndex }),
  };
}

/** The layout for the command and recipes. */
export const gptqLayoutDeclaration: LayoutDeclaration<typeof gptqLayoutOptions> = {
  name: 'gptq',
  summary: 'AutoGPTQ, GPTQModel, vLLM, transformers: integers of 2, 3, 4 and 8 bits',
  options: gptqLayoutOptions,
  make: gptqLayout,
};
