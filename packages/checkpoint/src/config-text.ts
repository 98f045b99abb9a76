import { parseJsonObject } from './json-text.js';

/**
 * A config as JSON text. Numbers under `floatKeys`, at any depth, keep a fraction part: `JSON.stringify(6)` is `6`,
 * which Python reads as an int, and transformers refuses an int for `llm_int8_threshold`. Numbers that JSON cannot
 * express are written as in Python: `NaN`, `Infinity`, `-Infinity`.
 */
export function configText(config: unknown, floatKeys: readonly string[] = []): string {
  // No config contains this character.
  const mark = '\uE000';
  const marked = JSON.stringify(
    config,
    (key, value) => {
      if (typeof value !== 'number') return value;
      if (!Number.isFinite(value)) return `${mark}${value}`;
      return floatKeys.includes(key) && Number.isInteger(value) ? `${mark}${value}.0` : value;
    },
    2,
  );
  return `${marked.replace(new RegExp(`"${mark}([^"]*)"`, 'g'), '$1')}\n`;
}

/**
 * The text of a config with some members of the outermost object replaced. All other text stays the same: `0.0` stays
 * `0.0`, and `1e-05` and `Infinity` stay as they are. Python distinguishes floats from ints by their text, and
 * transformers refuses an int for a float.
 * @param original text of the whole config
 * @param changes members to replace, or to add after the others
 * @param name of the file, for messages
 * @param left members that are left out
 * @throws FormatError when the original is not a JSON object
 */
export function editedConfigText(
  original: string,
  changes: Readonly<Record<string, unknown>>,
  floatKeys: readonly string[] = [],
  name = 'config.json',
  left: readonly string[] = [],
): string {
  const texts = new Map(parseJsonObject(original, name).texts);
  for (const key of left) texts.delete(key);
  for (const [key, value] of Object.entries(changes)) {
    // One object with this member alone, so `floatKeys` sees its name and it has the indentation of a member.
    const alone = configText({ [key]: value }, floatKeys).trimEnd();
    texts.set(key, alone.slice(`{\n  ${JSON.stringify(key)}:`.length, -1).trim());
  }
  const members = [...texts].map(([key, text]) => `  ${JSON.stringify(key)}: ${text}`);
  return `{\n${members.join(',\n')}\n}\n`;
}
