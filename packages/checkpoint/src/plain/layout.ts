import {
  decodeBf16,
  decodeF16,
  elementCount,
  encodeBf16,
  encodeF16,
  FormatError,
  lsbFirst,
  type QuantizedTensor,
  type Scheme,
  type SchemeVocabulary,
  type StoredScales,
  schemeFromJSON,
  type Tensor,
  tensor,
  tiling,
} from '@q/core';
import type { PlannedTensor } from '@q/safetensors';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { shapeOf } from '../stored-values.js';

/** Raised when older code can no longer read a folder. */
const version = 1;
const quantMethod = 'q-plain';

/**
 * Our own layout. It stores any quantized tensor under any scheme that JSON can name, exactly. Codes are one LSB-first
 * stream of bits. Scales keep their own storage if that is f16 or bf16, and are f32 otherwise; two-level storages add
 * their parts. config.json has the scheme of each module. No other runtime reads it. It is for schemes that no other
 * layout can hold (float zero points, block scales, tables), and for resuming.
 * @param vocabulary number formats and scale storages that schemes may name, also those of plugins
 */
export function plainLayout(vocabulary: SchemeVocabulary = {}): QuantizedLayout {
  return {
    name: 'plain',
    tables: true,
    stacks: true,
    refuse({ scheme }) {
      try {
        schemeFromJSON(JSON.stringify(scheme), vocabulary);
      } catch (error) {
        return `the plain layout keeps a scheme by its names: ${(error as Error).message}`;
      }
      return scheme.format.bits > 16
        ? `the plain layout keeps codes of at most 16 bits, not ${scheme.format.name}`
        : undefined;
    },
    plan: planned,
    encode: (module, quantized) => encode(module, quantized),
    config(modules, kept, record) {
      const schemes: string[] = [];
      const indexOf = (scheme: Scheme) => {
        const json = JSON.stringify(scheme);
        if (!schemes.includes(json)) schemes.push(json);
        return schemes.indexOf(json);
      };
      const entries = modules.map(({ linear, scheme, codebook }) => [
        linear.module,
        {
          scheme: indexOf(scheme),
          shape: [linear.outFeatures, linear.inFeatures],
          ...(codebook ? { codebook } : {}),
        },
      ]);
      const config = {
        quant_method: quantMethod,
        version,
        schemes: schemes.map((json) => JSON.parse(json)),
        modules: Object.fromEntries(entries),
        kept,
        method: record.method,
        options: record.options,
      };
      return { config, files: new Map() };
    },
    reader: (config) => (config.quant_method === quantMethod ? reader(config, vocabulary) : undefined),
  };
}

interface Grid {
  readonly scheme: Scheme;
  readonly shape: readonly [number, number];
  readonly codebook?: 'tensor' | 'row';
}

/** The tensors of a module; its scheme and shape determine them. */
function parts(module: string, { scheme, shape, codebook }: Grid): Record<string, PlannedTensor> {
  const { bits } = scheme.format;
  const { scaleRows, scaleColumns } = tiling(scheme.granularity, shape);
  const grid = [scaleRows, scaleColumns];
  const count = elementCount(shape);
  const bytes = bits <= 8 ? lsbFirst(bits).bytes(count) : 2 * count;
  const all: Record<string, PlannedTensor> = {
    codes: { name: `${module}.codes`, dtype: 'U8', shape: [bytes] },
    scales: { name: `${module}.scales`, dtype: scaleDtype(scheme), shape: grid },
  };
  if (scheme.zeroPoint !== 'none')
    all.zeros = { name: `${module}.zero_points`, dtype: wholeZeros(scheme) ? 'U8' : 'F32', shape: grid };
  // Whether groups have another order is known only after quantization: -1 means their own order.
  if (scheme.granularity.kind === 'group')
    all.group = { name: `${module}.group_index`, dtype: 'I32', shape: [shape[1]] };
  if (codebook)
    all.codebook = {
      name: `${module}.codebook`,
      dtype: 'F32',
      shape: codebook === 'row' ? [shape[0], 2 ** bits] : [2 ** bits],
    };
  for (const [part, values] of Object.entries(partsOfOnes(scheme, scaleRows * scaleColumns)))
    all[`scale:${part}`] = {
      name: `${module}.scale_${part}`,
      dtype: values instanceof Uint8Array ? 'U8' : 'F32',
      shape: [values.length],
    };
  return all;
}

/** A two-level storage has the same parts for the same number of scales. */
function partsOfOnes({ scaleStorage }: Scheme, count: number): NonNullable<StoredScales['parts']> {
  return scaleStorage.store(new Float32Array(count).fill(1)).parts ?? {};
}

const scaleDtype = ({ scaleStorage: { name } }: Scheme) => (name === 'f16' ? 'F16' : name === 'bf16' ? 'BF16' : 'F32');

const wholeZeros = ({ zeroPoint, format }: Scheme) => zeroPoint === 'integer' && format.bits <= 8;

function gridOf({ linear, scheme, codebook }: QuantizedModule): Grid {
  return { scheme, shape: [linear.outFeatures, linear.inFeatures], ...(codebook ? { codebook } : {}) };
}

const planned = (module: QuantizedModule): PlannedTensor[] =>
  Object.values(parts(module.linear.module, gridOf(module)));

function encode(module: QuantizedModule, quantized: QuantizedTensor): Map<string, Tensor> {
  const { scheme } = module;
  const { bits, min } = scheme.format;
  const { module: name } = module.linear;
  const places = parts(name, gridOf(module));
  const { codes, scales, zeroPoints, groupIndex, codebook } = quantized;
  const out = new Map<string, Tensor>();
  const put = (part: string, data: Uint8Array | Uint16Array | Int32Array | Float32Array) => {
    const place = places[part];
    if (!place || data.length !== elementCount(place.shape))
      throw new FormatError(
        place
          ? `${place.name}: ${data.length} values came where the scheme has ${elementCount(place.shape)}`
          : `${name}: a ${part} came that was not planned: say so in the module`,
      );
    out.set(place.name, tensor(place.dtype.toLowerCase() as 'u8', place.shape, data as Uint8Array));
  };
  put('codes', bits <= 8 ? lsbFirst(bits).pack(codes as Uint8Array) : bytesOf(codes));
  put('scales', storeScales(name, scheme, scales));
  if (zeroPoints) put('zeros', wholeZeros(scheme) ? Uint8Array.from(zeroPoints, (zero) => zero - min) : zeroPoints);
  if (places.group) put('group', groupIndex ?? new Int32Array(module.linear.inFeatures).fill(-1));
  if (codebook) put('codebook', codebook);
  for (const [part, values] of Object.entries(storedParts(name, quantized))) put(`scale:${part}`, values);
  const absent = Object.values(places).find((place) => !out.has(place.name));
  if (absent) throw new FormatError(`${absent.name}: was planned and did not come`);
  return out;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/**
 * Scales in their storage's own width. Scales that differ from the storage's would be lost silently, so they are an
 * error.
 */
function storeScales(name: string, scheme: Scheme, scales: Float32Array): Float32Array | Uint16Array {
  const dtype = scaleDtype(scheme);
  if (dtype === 'F32') return scales;
  const stored = dtype === 'F16' ? encodeF16(scales) : encodeBf16(scales);
  const back = dtype === 'F16' ? decodeF16(stored) : decodeBf16(stored);
  const bad = scales.findIndex((scale, i) => scale !== back[i]);
  if (bad >= 0)
    throw new FormatError(
      `${name}: scale ${bad} is ${scales[bad]}, which ${scheme.scaleStorage.name} cannot hold exactly`,
    );
  return stored;
}

/** Second-level values; computed again from the scales when the method did not give them. */
function storedParts(
  name: string,
  { scheme, scales, storedScales }: QuantizedTensor,
): NonNullable<StoredScales['parts']> {
  if (storedScales) return storedScales.parts ?? {};
  const again = scheme.scaleStorage.store(scales);
  if (again.parts && again.effective.some((scale, i) => scale !== scales[i]))
    throw new FormatError(`${name}: its scales are not those of a ${scheme.scaleStorage.name} storage`);
  return again.parts ?? {};
}

function reader(config: Readonly<Record<string, unknown>>, vocabulary: SchemeVocabulary): LayoutReader {
  if (config.version !== version)
    throw new FormatError(
      `quantization_config: version ${JSON.stringify(config.version)} of the plain layout is not known, only ${version}`,
    );
  const { schemes: listed, modules } = config;
  if (!Array.isArray(listed) || typeof modules !== 'object' || modules === null)
    throw new FormatError('quantization_config: schemes must be a list, and modules an object');
  const schemes = listed.map((json) => schemeFromJSON(json, vocabulary));
  const entries = new Map(Object.entries(modules as Record<string, unknown>));
  const grid = (module: string): Grid => {
    const found = entries.get(module) as { scheme?: unknown; shape?: unknown; codebook?: unknown } | null | undefined;
    const scheme = typeof found?.scheme === 'number' ? schemes[found.scheme] : undefined;
    if (!found || !scheme) throw new FormatError(`quantization_config: has no scheme for ${module}`);
    const { shape, codebook } = found;
    const sizes =
      Array.isArray(shape) && shape.length === 2 && shape.every((size) => Number.isSafeInteger(size) && size > 0);
    if (!sizes)
      throw new FormatError(
        `quantization_config: ${module} has shape ${JSON.stringify(shape)}; two sizes were expected`,
      );
    if (codebook !== undefined && codebook !== 'tensor' && codebook !== 'row')
      throw new FormatError(
        `quantization_config: ${module} has codebook ${JSON.stringify(codebook)}; tensor or row was expected`,
      );
    return { scheme, shape: shape as unknown as [number, number], ...(codebook ? { codebook } : {}) };
  };
  return {
    layout: 'plain',
    has: (module, tensors) => entries.has(module) && tensors.has(`${module}.codes`),
    tensors: (module) => Object.values(parts(module, grid(module))).map(({ name }) => name),
    read: (module, tensors) => decode(module, grid(module), tensors),
  };
}

async function decode(module: string, grid: Grid, tensors: TensorLookup): Promise<QuantizedTensor> {
  const { scheme, shape } = grid;
  const { bits, min } = scheme.format;
  // Checked before anything of the shape's size is allocated: a config must not exhaust the memory.
  const count = elementCount(shape);
  if (count > 2 ** 20 && elementCount(shapeOf(tensors, `${module}.codes`, 1)) < Math.floor((count * bits) / 8))
    throw new FormatError(`${module}.codes: is too short for [${shape}] codes of ${bits} bits`);
  const places = parts(module, grid);
  const read = async (part: string) => {
    const { name, dtype, shape: expected } = places[part];
    if (!tensors.has(name)) throw new FormatError(`${name}: is absent; its scheme needs it`);
    const found = await tensors.read(name);
    if (`${found.shape}` !== `${expected}` || found.dtype !== dtype.toLowerCase())
      throw new FormatError(
        `${name}: is ${found.dtype} [${found.shape}]; ${dtype.toLowerCase()} [${expected}] was expected`,
      );
    const bad = found.data instanceof Float32Array ? found.data.findIndex((value) => !Number.isFinite(value)) : -1;
    if (bad >= 0) throw new FormatError(`${name}: element ${bad} is ${found.data[bad]}: repair the file`);
    return found.data;
  };
  const packed = (await read('codes')) as Uint8Array;
  const codes = bits <= 8 ? lsbFirst(bits).unpack(packed, count) : new Uint16Array(packed.slice().buffer);
  const storedScales = await read('scales');
  const dtype = scaleDtype(scheme);
  const scales =
    dtype === 'F32'
      ? (storedScales as Float32Array)
      : dtype === 'F16'
        ? decodeF16(storedScales as Uint16Array)
        : decodeBf16(storedScales as Uint16Array);
  const wild = scales.findIndex((scale) => !Number.isFinite(scale));
  if (wild >= 0) throw new FormatError(`${module}.scales: element ${wild} is ${scales[wild]}: repair the file`);
  const zeros = places.zeros && (await read('zeros'));
  const group = places.group && ((await read('group')) as Int32Array);
  const bad = group?.findIndex((value) => value >= tiling(scheme.granularity, shape).scaleColumns) ?? -1;
  if (bad >= 0) throw new FormatError(`${module}.group_index: entry ${bad} is ${group?.[bad]}, beyond the last group`);
  const names = Object.keys(places).filter((part) => part.startsWith('scale:'));
  const levels: Record<string, Float32Array | Uint8Array> = {};
  for (const part of names) levels[part.slice('scale:'.length)] = (await read(part)) as Float32Array | Uint8Array;
  return {
    scheme,
    shape,
    codes,
    scales,
    ...(zeros
      ? {
          zeroPoints: wholeZeros(scheme)
            ? Float32Array.from(zeros as Uint8Array, (z) => z + min)
            : (zeros as Float32Array),
        }
      : {}),
    ...(group && group[0] >= 0 ? { groupIndex: group } : {}),
    ...(places.codebook ? { codebook: (await read('codebook')) as Float32Array } : {}),
    ...(names.length > 0 ? { storedScales: { effective: scales, parts: levels } } : {}),
  };
}

/** The layout for the command and recipes. */
export const plainLayoutDeclaration: LayoutDeclaration = {
  name: 'plain',
  summary: 'any scheme exactly, for this toolkit alone',
  options: {},
  floatZeroPoints: true,
  make: (_options, vocabulary) => plainLayout(vocabulary),
};
