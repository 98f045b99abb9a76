import type { NamedParts, Option, OptionRecord } from '@q/core';
import type { Command } from 'commander';
import { addFlag, defaultNote } from './command.js';

/** An object with a name and options: a method, a tuner. */
export interface Named {
  readonly name: string;
  readonly options: OptionRecord;
}

/**
 * Adds one flag for each key that any of these declares. The help groups options by their methods, and gives the
 * default of each if they differ.
 * @param skip keys that the command declares itself
 */
export function addOptionsOf(
  to: Command,
  declared: readonly Named[],
  parts: NamedParts,
  skip: readonly string[] = [],
): void {
  const byKey = new Map<string, { names: string[]; options: Option<any>[] }>();
  for (const { name, options } of declared)
    for (const [key, option] of Object.entries(options)) {
      if (skip.includes(key)) continue;
      const found = byKey.get(key) ?? { names: [], options: [] };
      byKey.set(key, { names: [...found.names, name], options: [...found.options, option] });
    }
  for (const [key, { names, options }] of byKey) {
    const [first, ...others] = options;
    addFlag(to, key, first, parts, { group: `Options of ${names.join(', ')}:`, others, note: notes(names, options) });
  }
}

/** ` (default: 5; qaft, llm-qat 20)` */
function notes(names: readonly string[], options: readonly Option<any>[]): string {
  const byNote = new Map<string, string[]>();
  for (const [index, option] of options.entries()) {
    const note = defaultNote(option).replace(/^ \(default: |\)$/g, '');
    byNote.set(note, [...(byNote.get(note) ?? []), names[index]]);
  }
  if (byNote.size === 1) return defaultNote(options[0]);
  const parts = [...byNote].filter(([note]) => note !== '').map(([note, own]) => `${own.join(', ')}: ${note}`);
  return parts.length === 0 ? '' : ` (default of ${parts.join('; ')})`;
}
