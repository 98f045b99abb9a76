import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { copyFileDurably, type FileOptions, type FileRecord, writeFileDurably } from '@q/durable-files';
import { openGgufFile } from './gguf/gguf-file.js';
import { parseJson } from './json-text.js';

/**
 * The files of a model other than its weights: those of its folder, or files that are made from the metadata of a GGUF
 * file.
 */
export interface ModelFiles {
  /** For messages. */
  where(name: string): string;
  /** The path of a file on the disk; undefined for a file that is made from GGUF metadata. */
  path(name: string): string | undefined;
  /** Its text; undefined if there is no such file. */
  text(name: string): Promise<string | undefined>;
  /**
   * The content of a JSON file as Python writes it (`NaN`, `Infinity`); undefined if there is no such file.
   * @throws FormatError naming the file when it is not JSON
   */
  json(name: string): Promise<unknown>;
}

/**
 * The files of a model folder, or of a model in a GGUF file.
 * @throws FormatError or SchemeError when a GGUF file cannot be read
 */
export async function openModelFiles(path: string): Promise<ModelFiles> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) return (await openGgufFile(path)).files;
  return folderFiles(path);
}

export function folderFiles(folder: string): ModelFiles {
  const text = (name: string) =>
    readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw cannotBeRead(join(folder, name), error);
    });
  return {
    where: (name) => join(folder, name),
    path: (name) => join(folder, name),
    text,
    async json(name) {
      const found = await text(name);
      return found === undefined ? undefined : parseJson(found, join(folder, name));
    },
  };
}

/** Files from texts, for a model that is in no folder. */
export function textFiles(model: string, texts: ReadonlyMap<string, string>): ModelFiles {
  const where = (name: string) => `${model}: ${name}`;
  return {
    where,
    path: () => undefined,
    text: async (name) => texts.get(name),
    async json(name) {
      const text = texts.get(name);
      return text === undefined ? undefined : parseJson(text, where(name));
    },
  };
}

/** Copies a file of a model, or writes one that is made from GGUF metadata. */
export async function copyModelFile(
  files: ModelFiles,
  name: string,
  to: string,
  options: FileOptions = {},
): Promise<Omit<FileRecord, 'file'>> {
  const from = files.path(name);
  if (from === undefined) return writeFileDurably(to, (await files.text(name)) as string, options);
  return copyFileDurably(from, to, options).catch((error: NodeJS.ErrnoException) => {
    throw error.code !== undefined && error.path === from ? cannotBeRead(from, error) : error;
  });
}

const cannotBeRead = (path: string, { code, message }: NodeJS.ErrnoException) =>
  new FormatError(
    `${path}: cannot be read (${code ?? message}): ${code === 'ENOENT' ? 'it existed when the model was opened: put it back' : "check the file's permissions"}`,
  );
