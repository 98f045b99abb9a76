import { FormatError } from '@q/core';

type Json = Readonly<Record<string, unknown>>;

/**
 * Ids that end a text: `eos_token_id` of `generation_config.json`, else of `config.json`; one or several. Empty where neither
 * has any.
 * @throws FormatError when it is no id
 */
export function stopTokens(generation: Json | undefined, model: Json): ReadonlySet<number> {
  const [file, source] =
    generation?.['eos_token_id'] == null ? ['config.json', model] : ['generation_config.json', generation];
  const entry = source['eos_token_id'] ?? [];
  const ids = Array.isArray(entry) ? entry : [entry];
  for (const id of ids)
    if (!Number.isInteger(id) || id < 0)
      throw new FormatError(`${file}: eos_token_id is ${JSON.stringify(entry)}: an id or a list of ids was expected`);
  return new Set(ids);
}
