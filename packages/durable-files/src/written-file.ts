import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createDurableFile, type DurableFile } from './durable-file.js';
import type { FileOptions } from './file-system.js';
import { nodeFiles } from './node-files.js';

/** The record of a file in a journal, once the file is on the disk. */
export interface FileRecord {
  readonly file: string;
  readonly bytes: number;
  /** SHA-256, hexadecimal. */
  readonly sum: string;
}

const chunkBytes = 4 * 2 ** 20;

/** SHA-256 of bytes, hexadecimal. */
export const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Writes a small file completely: it replaces an existing file at once, or the old content stays.
 * @throws WriteError naming the file
 */
export async function writeFileDurably(
  path: string,
  content: string | Uint8Array,
  options: FileOptions = {},
): Promise<Omit<FileRecord, 'file'>> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return replaced(await createDurableFile(path, options), async (file) => {
    await file.write(bytes, 0);
    return { bytes: bytes.length, sum: sumOf(bytes) };
  });
}

/**
 * Copies a file of the machine's own file system, in chunks.
 * @throws WriteError naming the copy; the system's error when the source cannot be read
 */
export async function copyFileDurably(
  from: string,
  to: string,
  options: FileOptions = {},
): Promise<Omit<FileRecord, 'file'>> {
  const source = await open(from, 'r');
  try {
    return await replaced(await createDurableFile(to, options), async (file) => {
      const hash = createHash('sha256');
      const buffer = new Uint8Array(chunkBytes);
      let position = 0;
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) return { bytes: position, sum: hash.digest('hex') };
        const bytes = buffer.subarray(0, bytesRead);
        hash.update(bytes);
        await file.write(bytes, position);
        position += bytesRead;
      }
    });
  } finally {
    await source.close();
  }
}

async function replaced<T>(file: DurableFile, fill: (file: DurableFile) => Promise<T>): Promise<T> {
  try {
    const result = await fill(file);
    await file.commit();
    return result;
  } catch (error) {
    // The first error has the reason; a second error on removing the rest of the file adds nothing.
    await file.abort().catch(() => {});
    throw error;
  }
}

/** SHA-256 and size of an existing file; undefined when there is none. */
export async function recordOf(
  path: string,
  { files = nodeFiles }: FileOptions = {},
): Promise<Omit<FileRecord, 'file'> | undefined> {
  if (!(await files.info(path))) return undefined;
  const file = await files.open(path, 'read');
  try {
    const hash = createHash('sha256');
    const buffer = new Uint8Array(chunkBytes);
    let position = 0;
    for (;;) {
      const count = await file.read(buffer, position);
      hash.update(buffer.subarray(0, count));
      position += count;
      if (count < buffer.length) return { bytes: position, sum: hash.digest('hex') };
    }
  } finally {
    await file.close();
  }
}
