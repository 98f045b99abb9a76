import { type BlockFormat, closest } from '@q/core';
import type { OutputChoice } from '@q/gguf';
import { ggufPartFormats } from '../registry.js';
import { UsageError } from '../usage-error.js';

/** @throws UsageError for a name that is absent or not in the registry */
export function ggufType<V>(option: string, name: string | undefined, registry: ReadonlyMap<string, V>): V {
  const known = [...registry.keys()];
  if (name === undefined) throw new UsageError(`${option} is missing: one of ${known.join(', ')}`);
  const found = registry.get(name.toLowerCase());
  if (found !== undefined) return found;
  const near = closest(name, known);
  throw new UsageError(`${option} ${name}: ${known.join(', ')} are known${near ? `; did you mean ${near}?` : ''}`);
}

export function typeOrKeep(option: string, name: string | undefined): BlockFormat | 'keep' | undefined {
  return name === undefined || name === 'keep' ? name : ggufType(option, name, ggufPartFormats);
}

export const outputChoice = (name: string | undefined): OutputChoice | undefined =>
  name === 'like-llama' ? name : typeOrKeep('--output', name);
