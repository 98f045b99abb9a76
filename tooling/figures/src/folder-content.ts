import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** Names with a sum of the content of each file under a path; of a report, what does not differ from run to run. */
export async function folderContent(path: string): Promise<string> {
  const lines: string[] = [];
  const walk = async (at: string): Promise<void> => {
    const info = await stat(at).catch(() => undefined);
    if (info?.isDirectory()) for (const name of (await readdir(at)).sort()) await walk(join(at, name));
    else if (info) lines.push(`${relative(dirname(path), at)} ${sum(comparable(at, await readFile(at)))}`);
  };
  await walk(path);
  return lines.join('\n');
}

export const sum = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex').slice(0, 16);

/**
 * What a report says of times and of the process. What the engine held before the first step of a training, and what the step
 * took beyond it, depends on whether this process has run the model before: tables of positions stay on the engine.
 */
const varying = new Set(['seconds', 'secondsPerStep', 'resumed', 'environment', 'engine', 'notes']);

function comparable(path: string, content: Buffer): string | Uint8Array {
  if (path.endsWith('q-report.html')) return '';
  if (!path.endsWith('q-report.json')) return content;
  return JSON.stringify(JSON.parse(content.toString()), (key, value) => (varying.has(key) ? undefined : value));
}
