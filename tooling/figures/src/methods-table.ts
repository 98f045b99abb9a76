import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { MethodLine } from './methods-plot.js';

const key = ({ model, bits, group, method }: MethodLine) => JSON.stringify([model, bits, group, method]);

/**
 * Merges lines. A new line replaces the old one of the same model, bits, group and method; others stay. Lines are
 * sorted, so that files of different runs can be compared.
 */
export function mergeLines(old: readonly MethodLine[], fresh: readonly MethodLine[]): MethodLine[] {
  const all = new Map([...old, ...fresh].map((line) => [key(line), line]));
  return [...all.values()].sort(
    (a, b) => a.model.localeCompare(b.model) || b.bits - a.bits || b.group - a.group || (key(a) < key(b) ? -1 : 1),
  );
}

/** @throws Error naming the file when it exists and cannot be read */
export async function readLines(file: URL): Promise<MethodLine[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '[]';
    throw error;
  });
  try {
    return JSON.parse(text) as MethodLine[];
  } catch {
    throw new Error(`${file.pathname} holds no table of an earlier run: remove it, or start with --fresh`);
  }
}

/** Writes the table. It is called after every line, so a run of many minutes that is stopped keeps its measurements. */
export async function writeLines(file: URL, lines: readonly MethodLine[]): Promise<void> {
  await mkdir(dirname(file.pathname), { recursive: true });
  await writeFile(file, `${JSON.stringify(lines, null, 1)}\n`);
}
