import { createDurableFile, createEarlySync, type FileOptions } from '@q/durable-files';

/** A file that is written from its start to its end, and is either complete or absent. */
export interface FileSink {
  readonly path: string;
  /** Bytes so far. */
  readonly length: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Syncs, and gives the file its final name. */
  finish(): Promise<void>;
  /** Closes and removes the file. Does nothing after `finish`. */
  abort(): Promise<void>;
}

/** @throws WriteError naming the file */
export async function createFileSink(path: string, options: FileOptions = {}): Promise<FileSink> {
  const file = await createDurableFile(path, options);
  let length = 0;
  const early = createEarlySync(file);

  return {
    path,
    get length() {
      return length;
    },
    async write(bytes) {
      await file.write(bytes, length);
      length += bytes.length;
      early.wrote(bytes.length);
    },
    async finish() {
      await early.finish();
      await file.commit();
    },
    async abort() {
      await early.idle();
      await file.abort();
    },
  };
}
