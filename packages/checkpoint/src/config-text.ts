/**
 * A config as JSON text. Numbers under `floatKeys`, at any depth, keep a fraction part: `JSON.stringify(6)` is `6`, which
 * Python reads as an int, and transformers refuses an int for `llm_int8_threshold`.
 */
export function configText(config: Readonly<Record<string, unknown>>, floatKeys: readonly string[] = []): string {
  // No text of a config holds this character.
  const mark = '\uE000';
  const marked = JSON.stringify(
    config,
    (key, value) =>
      typeof value === 'number' && floatKeys.includes(key) && Number.isInteger(value) ? `${mark}${value}.0` : value,
    2,
  );
  return `${marked.replace(new RegExp(`"${mark}([^"]*)"`, 'g'), '$1')}\n`;
}
