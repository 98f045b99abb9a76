import { access, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type FileSystem, partialName, WriteError } from '@q/durable-files';
import { UsageError } from '../usage-error.js';

/**
 * @throws UsageError when the output file exists already, or is the input
 * @throws WriteError when its folder does not exist
 */
export async function refuseExisting(input: string, output: string, files: FileSystem): Promise<void> {
  const folder = dirname(output);
  if (!(await files.info(folder)))
    throw new WriteError(
      `${partialName(output)}: could not be written: there is no folder ${folder}: make it, or choose another one`,
    );
  const there = await access(output).then(
    () => true,
    () => false,
  );
  if (!there) return;
  if ((await realpath(input)) === (await realpath(output)))
    throw new UsageError(`${output}: is the file that is read: give another name`);
  throw new UsageError(`${output}: is there already: remove it, or give another name`);
}
