import { QuantError } from '@q/core';

/** A file could not be written: no space, no permission, a broken disk. */
export class WriteError extends QuantError {
  override name = 'WriteError';
}

/** An error that names the file and what to do, instead of the system's code. */
export function writeError(path: string, error: unknown, bytes?: number): WriteError {
  const code = (error as NodeJS.ErrnoException)?.code;
  const need = bytes === undefined ? '' : ` (${bytes} bytes were to be written)`;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new WriteError(`${path}: no space left on the disk${need}: free some or choose another output folder`);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new WriteError(`${path}: writing is not permitted (${code}): check the folder's permissions`);
  return new WriteError(`${path}: could not be written${need}: ${error instanceof Error ? error.message : error}`);
}
