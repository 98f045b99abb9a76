import { configText } from '../config-text.js';
import { parseJsonObject } from '../json-text.js';

/** Dtypes for casts, with their names in config.json. */
export const castDtypes = { f16: 'float16', bf16: 'bfloat16', f32: 'float32' } as const;

export type CastDtype = keyof typeof castDtypes;

/** Keys of config.json that name the dtype: that of transformers 5, and the one before it. */
const dtypeKeys = ['dtype', 'torch_dtype'];

/**
 * The text of config.json with another dtype, also in the configs inside it (`text_config`). All other text stays the
 * same. A config without a dtype gets `torch_dtype`, which all versions of transformers read.
 * @param changes other members of the outermost object that change
 * @throws FormatError when the original is not a JSON object
 */
export function castConfigText(
  original: string,
  dtype: CastDtype,
  changes: Readonly<Record<string, unknown>> = {},
): string {
  const { values, texts } = parseJsonObject(original, 'config.json');
  const members = new Map(texts);
  for (const [key, value] of Object.entries(changes)) members.set(key, configText(value).trimEnd());
  if (!dtypeKeys.some((key) => key in values)) members.set('torch_dtype', JSON.stringify(castDtypes[dtype]));
  return `${castMembers(members, dtype, '')}\n`;
}

function castMembers(members: ReadonlyMap<string, string>, dtype: CastDtype, indent: string): string {
  const lines = [...members].map(([key, text]) => {
    const cast = dtypeKeys.includes(key) ? JSON.stringify(castDtypes[dtype]) : castInside(text, dtype, `${indent}  `);
    return `${indent}  ${JSON.stringify(key)}: ${cast}`;
  });
  return `{\n${lines.join(',\n')}\n${indent}}`;
}

/** The text of a member; only an object that names a dtype changes. */
function castInside(text: string, dtype: CastDtype, indent: string): string {
  if (!text.startsWith('{') || !dtypeKeys.some((key) => text.includes(`"${key}"`))) return text;
  return castMembers(parseJsonObject(text, 'config.json').texts, dtype, indent);
}
