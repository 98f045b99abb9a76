import { createHash } from 'node:crypto';
import { type FileOptions, nodeFiles } from '@q/durable-files';
import { openFile } from './file-source.js';
import { readHeader } from './header.js';

const chunkBytes = 4 * 2 ** 20;

/**
 * The checksum that a journal has of a safetensors file: SHA-256 over its header (with the length before it) and over
 * the SHA-256, in hexadecimal, of each tensor in the order of their bytes. A writer computes it without reading the
 * file again.
 */
export function sumOfSums(header: Uint8Array, tensors: readonly string[]): string {
  const hash = createHash('sha256').update(header);
  for (const sum of tensors) hash.update(sum);
  return hash.digest('hex');
}

/**
 * Size and {@link sumOfSums} of a safetensors file; undefined when there is none.
 * @throws FormatError when it is not a safetensors file
 */
export async function weightFileRecord(
  path: string,
  { files = nodeFiles }: FileOptions = {},
): Promise<{ readonly bytes: number; readonly sum: string } | undefined> {
  if (!(await files.info(path))) return undefined;
  const source = await openFile(path);
  try {
    const { tensors } = await readHeader(source);
    const entries = [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
    const sums: string[] = [];
    for (const { begin, end } of entries) {
      const hash = createHash('sha256');
      for (let at = begin; at < end; at += chunkBytes)
        hash.update(await source.slice(at, Math.min(at + chunkBytes, end)));
      sums.push(hash.digest('hex'));
    }
    const header = await source.slice(0, entries[0]?.begin ?? source.byteLength);
    return { bytes: source.byteLength, sum: sumOfSums(header, sums) };
  } finally {
    await source.close();
  }
}
