import { join } from 'node:path';
import { FormatError } from '@q/core';
import { type FileOptions, type FileRecord, recordOf } from '@q/durable-files';
import { weightFileRecord } from '@q/safetensors';

/**
 * Compares the files of a written folder with their records.
 * @throws FormatError naming the first file that is missing or differs
 */
export async function verifyFiles(
  folder: string,
  records: readonly FileRecord[],
  options: FileOptions = {},
): Promise<void> {
  for (const { file, bytes, sum } of records) {
    const path = join(folder, file);
    const refuse = (what: string) =>
      new FormatError(
        `${path}: ${what}, although the run that wrote the folder noted ${bytes} bytes with sum ${sum.slice(0, 12)}: ` +
          `put the file back, or remove the folder ${folder} and start again`,
      );
    const read = file.endsWith('.safetensors') ? weightFileRecord : recordOf;
    const found = await read(path, options).catch((error) => {
      throw error instanceof FormatError ? refuse(`is damaged (${error.message})`) : error;
    });
    if (!found) throw refuse('is not there');
    if (found.bytes !== bytes || found.sum !== sum)
      throw refuse(`has ${found.bytes} bytes with sum ${found.sum.slice(0, 12)}`);
  }
}
