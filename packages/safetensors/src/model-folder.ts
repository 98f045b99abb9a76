import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ByteSource } from './byte-source.js';
import { openFile } from './file-source.js';

/** The files of a model folder, on a disk or elsewhere. */
export interface ModelFolder {
  /** For messages. */
  readonly path: string;
  /** A file's path, for messages. */
  where(name: string): string;
  names(): Promise<readonly string[]>;
  /** A file's content as UTF-8. */
  text(name: string): Promise<string>;
  open(name: string): Promise<ByteSource>;
}

/** A folder on the disk. */
export const modelFolder = (path: string): ModelFolder => ({
  path,
  where: (name) => join(path, name),
  names: () => readdir(path),
  text: (name) => readFile(join(path, name), 'utf8'),
  open: (name) => openFile(join(path, name)),
});
