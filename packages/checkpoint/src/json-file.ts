import { readFile } from 'node:fs/promises';
import { FormatError } from '@q/core';
import { parseJsonObject } from './json-text.js';

/**
 * The object of a JSON file of a model folder, also with the numbers that Python writes (`NaN`, `Infinity`).
 * @param expected in words, for the message when the file cannot be read
 * @throws FormatError naming the file
 */
export async function readJsonFile(path: string, expected: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch((error) => {
    throw new FormatError(`${path}: cannot be read (${error.code ?? error.message}); ${expected}`);
  });
  return parseJsonObject(text, path).values;
}
