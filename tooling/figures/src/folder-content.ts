import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** The content of each file under a path, by its name. Of a report, only the parts that are the same in every run. */
export type FolderContent = ReadonlyMap<string, string | Uint8Array>;

export async function folderContent(path: string): Promise<FolderContent> {
  const content = new Map<string, string | Uint8Array>();
  const walk = async (at: string): Promise<void> => {
    const info = await stat(at).catch(() => undefined);
    if (info?.isDirectory()) for (const name of (await readdir(at)).sort()) await walk(join(at, name));
    else if (info) content.set(relative(dirname(path), at), comparable(at, await readFile(at)));
  };
  await walk(path);
  return content;
}

/**
 * The differences of two folders, one line a file; empty if they are equal. For a report the line has the first value
 * that differs.
 */
export function differences(found: FolderContent, expected: FolderContent): readonly string[] {
  const lines: string[] = [];
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    const [is, should] = [found.get(name), expected.get(name)];
    if (should === undefined) lines.push(`${name} is there beside`);
    else if (is === undefined) lines.push(`${name} is not there`);
    else if (Buffer.compare(Buffer.from(is), Buffer.from(should)) !== 0)
      lines.push(`${name} ${firstDifference(is, should)}`);
  }
  return lines;
}

function firstDifference(is: string | Uint8Array, should: string | Uint8Array): string {
  const shorter = Math.min(is.length, should.length);
  let at = 0;
  while (at < shorter && is[at] === should[at]) at++;
  const around = (content: string | Uint8Array) =>
    typeof content === 'string' ? content.slice(Math.max(0, at - 60), at + 40) : [...content.subarray(at, at + 8)];
  return `differs at ${at} of ${should.length}: ${around(is)} instead of ${around(should)}`;
}

export const sum = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex').slice(0, 16);

/** Keys of a report with times and data of the process that wrote it. */
const varying = new Set(['seconds', 'secondsPerStep', 'resumed', 'environment', 'engine', 'notes']);

function comparable(path: string, content: Buffer): string | Uint8Array {
  if (path.endsWith('q-report.html')) return '';
  if (!path.endsWith('q-report.json')) return content;
  return JSON.stringify(JSON.parse(content.toString()), (key, value) => (varying.has(key) ? undefined : value));
}
