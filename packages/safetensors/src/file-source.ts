import { type FileHandle, open } from 'node:fs/promises';
import { FormatError } from '@q/core';
import type { ByteSource } from './byte-source.js';

/**
 * A file, opened for reading. Links are followed.
 * @throws FormatError naming what cannot be opened or is no file
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
  const { size } = info;
  return {
    name: path,
    byteLength: size,
    slice: (start, end, out) => readRange(handle, path, start, end, out),
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
