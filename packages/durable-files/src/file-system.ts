/** What is known of a path without opening it. */
export interface PathInfo {
  readonly bytes: number;
  readonly isFolder: boolean;
}

/** A file that is open for reading and writing by position. */
export interface OpenFile {
  /** Writes all of `bytes`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** @returns the bytes that were read: fewer than asked for at the end of the file */
  read(into: Uint8Array, position: number): Promise<number>;
  truncate(bytes: number): Promise<void>;
  /** Everything written so far survives a power cut once this resolves. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/**
 * How a file is opened: `create` empties what is there, `exclusive` refuses it with EEXIST, `update` and `read` need it
 * (ENOENT).
 */
export type OpenMode = 'create' | 'exclusive' | 'update' | 'read';

/**
 * The operations of a file system that writers need. It is handed in, so that tests can put one in its place that fails
 * at a chosen operation. Errors are those of Node's `fs`, with their `code`.
 */
export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  /** Replaces what is at `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Removes one file; nothing happens when there is none. */
  remove(path: string): Promise<void>;
  /** One level; fails with EEXIST when it is there. */
  makeFolder(path: string): Promise<void>;
  /** Removes an empty folder; fails with ENOTEMPTY when it is not. */
  removeFolder(path: string): Promise<void>;
  /** Names that were made, renamed or removed in a folder survive a power cut once this resolves. */
  syncFolder(path: string): Promise<void>;
  /** Names in a folder, sorted; nothing when there is no such folder. */
  list(path: string): Promise<readonly string[] | undefined>;
  /** Nothing when there is nothing at the path. */
  info(path: string): Promise<PathInfo | undefined>;
  /** The whole file; nothing when there is none. */
  readFile(path: string): Promise<Uint8Array | undefined>;
  /** Bytes that are free for new files in a folder. */
  freeBytes(folder: string): Promise<number>;
}

/** Every writer of the house takes this option. */
export interface FileOptions {
  /** The machine's own file system when absent. */
  readonly files?: FileSystem;
}
