import { type FileHandle, open } from 'node:fs/promises';
import { FormatError } from '@q/core';
import type { ByteSource } from './byte-source.js';

/**
 * Opens a file for reading. Links are followed. After someone writes to the file, reads are refused; if another file
 * takes its name, reads go on.
 * @throws FormatError naming a path that cannot be opened or is not a file
 */
export async function openFile(path: string): Promise<ByteSource> {
  const handle = await open(path, 'r').catch((error) => {
    throw new FormatError(`${path}: cannot be opened (${error.code ?? error.message})`);
  });
  const info = await handle.stat();
  if (!info.isFile()) {
    await handle.close();
    throw new FormatError(`${path}: is not a file`);
  }
  const { size, mtimeMs } = info;
  return {
    name: path,
    byteLength: size,
    async slice(start, end, out) {
      const bytes = await readRange(handle, path, start, end, out);
      // A result from a mixture of old and new bytes would belong to no existing model.
      if ((await handle.stat()).mtimeMs !== mtimeMs)
        throw new FormatError(
          `${path}: was written to while it was read: wait until nothing changes it, then begin again`,
        );
      return bytes;
    },
    close: () => handle.close(),
  };
}

async function readRange(
  handle: FileHandle,
  path: string,
  start: number,
  end: number,
  out?: Uint8Array,
): Promise<Uint8Array> {
  const bytes = out && out.length >= end - start ? out.subarray(0, end - start) : new Uint8Array(end - start);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
    if (bytesRead === 0) {
      throw new FormatError(
        `${path}: ends at byte ${start + done}, ${end} were expected: it was truncated or replaced while being read`,
      );
    }
    done += bytesRead;
  }
  return bytes;
}
