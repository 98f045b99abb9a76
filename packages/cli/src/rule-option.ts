import { UsageError } from './usage-error.js';

/**
 * `--rule 'PATTERN=KEY:VALUE,...'`: one rule of a recipe in one argument. `PATTERN=keep` does not quantize the linears.
 * Values are read as JSON if possible (`3`, `true`), else as text; keys and values are those of a recipe file's rule.
 * @throws UsageError with the expected form
 */
export function parseRule(text: string): Record<string, unknown> {
  // A pattern may contain an equals sign, settings never do.
  const at = text.lastIndexOf('=');
  const [match, settings] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  if (at < 1 || match === '' || settings === '')
    throw new UsageError(`--rule ${text}: 'PATTERN=bits:3,group:64' or 'PATTERN=keep' was expected`);
  if (settings === 'keep') return { match, keep: true };
  const rule: Record<string, unknown> = { match };
  for (const part of settings.split(',')) {
    const [key, value, ...more] = part.split(':').map((word) => word.trim());
    if (!key || !value || more.length > 0)
      throw new UsageError(`--rule ${text}: ${JSON.stringify(part)} is not KEY:VALUE, as in bits:3`);
    if (Object.hasOwn(rule, key)) throw new UsageError(`--rule ${text}: ${key} is there twice`);
    rule[key] = settingOf(value);
  }
  return rule;
}

function settingOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
