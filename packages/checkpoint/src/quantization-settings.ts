import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { type FileDtype, holdsValues, type TensorEntry } from '@q/safetensors';
import { parseJsonObject } from './json-text.js';
import type { LayoutReader, QuantizedLayout } from './layout.js';

/** Files with settings of quantized linears for folders whose config.json has none, and their `quant_method`. */
const besideConfig: ReadonlyMap<string, string> = new Map([
  ['quantize_config.json', 'gptq'],
  ['quant_config.json', 'awq'],
]);

/** Last parts of tensor names that only quantized linears have. */
const quantizedParts =
  /\.(qweight|qzeros|weight_packed|weight_scale|weight_scale_inv|weight_scale_2|SCB|absmax|quant_state\..*)$/;

/**
 * The reader of a folder's quantized linears; undefined when it has none. The settings are those of config.json, else
 * of a separate file from older tools, which a note then names.
 * @throws FormatError for settings of an unknown layout, and for tensors of quantized linears without any settings
 */
export async function layoutReader(
  path: string,
  config: Readonly<Record<string, unknown>>,
  layouts: readonly QuantizedLayout[],
  tensors: ReadonlyMap<string, TensorEntry>,
  notes: string[],
): Promise<LayoutReader | undefined> {
  const { where, settings } =
    (await statedSettings(path, config)) ?? (await settingsBeside(path, tensors, notes)) ?? noSettings;
  if (!settings) {
    const left = firstKey(tensors, (name) => name.endsWith('.qweight') || name.endsWith('.weight_packed'));
    if (left)
      throw new FormatError(
        `${path}: ${left} holds packed codes, but neither config.json has a quantization_config nor is ${[...besideConfig.keys()].join(' or ')} there: get the file that came with these weights`,
      );
    return undefined;
  }
  for (const layout of layouts) {
    const reader = layout.reader(settings);
    if (reader) return reader;
  }
  throw new FormatError(
    `${where}: is quantized with ${JSON.stringify(settings.quant_method)}${settings.format === undefined ? '' : `, format ${JSON.stringify(settings.format)}`}, which is not among the known layouts (${layouts.map(({ name }) => name).join(', ')})`,
  );
}

function firstKey(tensors: ReadonlyMap<string, TensorEntry>, is: (name: string) => boolean): string | undefined {
  for (const name of tensors.keys()) if (is(name)) return name;
  return undefined;
}

interface Settings {
  readonly where: string;
  readonly settings?: Readonly<Record<string, unknown>>;
}
const noSettings: Settings = { where: '' };

async function statedSettings(path: string, config: Readonly<Record<string, unknown>>): Promise<Settings | undefined> {
  // The name in early files of compressed-tensors.
  const key = ['quantization_config', 'compression_config'].find((each) => (config[each] ?? null) !== null);
  if (key === undefined) return undefined;
  const where = `${join(path, 'config.json')}: ${key}`;
  const settings = config[key];
  if (typeof settings !== 'object' || Array.isArray(settings)) throw new FormatError(`${where} must be an object`);
  return { where, settings: withMethod(settings as Record<string, unknown>) };
}

/** Early files of bitsandbytes have no `quant_method`, but keys that no other layout has. */
function withMethod(settings: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const bits = settings.load_in_8bit === true || settings.load_in_4bit === true;
  return settings.quant_method === undefined && bits ? { ...settings, quant_method: 'bitsandbytes' } : settings;
}

async function settingsBeside(
  path: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  notes: string[],
): Promise<Settings | undefined> {
  if (firstKey(tensors, (name) => name.endsWith('.qweight')) === undefined) return undefined;
  for (const [name, method] of besideConfig) {
    const where = join(path, name);
    const text = await readFile(where, 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const settings = parseJsonObject(text, where).values;
    notes.push(`config.json has no quantization_config: it is read from ${name}`);
    return { where, settings: { ...settings, quant_method: settings.quant_method ?? method } };
  }
  return undefined;
}

/**
 * Checks that a tensor that is needed as values has values. Integers and 8-bit floats are codes of a quantized linear:
 * without the settings for decoding they must not be used as weights.
 * @throws FormatError naming the tensor, its dtype, and its scales
 */
export function refuseCodes(
  path: string,
  name: string,
  dtype: FileDtype,
  tensors: ReadonlyMap<string, TensorEntry>,
): void {
  if (holdsValues(dtype)) return;
  const module = name.replace(/\.weight$/, '');
  const beside = [...tensors.keys()].filter((other) => other.startsWith(`${module}.`) && quantizedParts.test(other));
  const scales = beside.length > 0 ? `, with ${beside.join(', ')} beside it,` : '';
  const what = dtype.startsWith('F8')
    ? 'get the config that came with it, or convert it to bf16 first (values times their scales)'
    : 'get the config that came with it, or convert it to bf16 first (codes times their scales)';
  throw new FormatError(
    `${path}: tensor ${name} of dtype ${dtype}${scales} holds codes, and no layout of the config says how they are decoded: ${what}`,
  );
}
