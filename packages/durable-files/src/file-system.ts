/** Facts about a path that need no open file. */
export interface PathInfo {
  readonly bytes: number;
  readonly isFolder: boolean;
}

/** A file that is open for reading and writing by position. */
export interface OpenFile {
  /** Writes all of `bytes`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** @returns the number of bytes read: less than requested at the end of the file */
  read(into: Uint8Array, position: number): Promise<number>;
  truncate(bytes: number): Promise<void>;
  /** All earlier writes survive a power cut once this resolves. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/**
 * How a file is opened: `create` empties an existing file, `exclusive` refuses it with EEXIST, `update` and `read` need
 * it (ENOENT).
 */
export type OpenMode = 'create' | 'exclusive' | 'update' | 'read';

/**
 * The operations of a file system that writers need. It is an argument, so tests can replace it by one that fails at a
 * chosen operation. Errors are those of Node's `fs`, with their `code`.
 */
export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  /** Replaces an existing file at `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Removes one file; does nothing when there is none. */
  remove(path: string): Promise<void>;
  /** Makes one level; fails with EEXIST when the folder exists. */
  makeFolder(path: string): Promise<void>;
  /** Removes an empty folder; fails with ENOTEMPTY when it is not. */
  removeFolder(path: string): Promise<void>;
  /** Names that were created, renamed or removed in a folder survive a power cut once this resolves. */
  syncFolder(path: string): Promise<void>;
  /** Names in a folder, sorted; undefined when there is no such folder. */
  list(path: string): Promise<readonly string[] | undefined>;
  /** Undefined when the path does not exist. */
  info(path: string): Promise<PathInfo | undefined>;
  /** The whole file; undefined when there is none. */
  readFile(path: string): Promise<Uint8Array | undefined>;
  /** Free bytes for new files in a folder. */
  freeBytes(folder: string): Promise<number>;
}

/** The option of every function that writes. */
export interface FileOptions {
  /** The machine's own file system when absent. */
  readonly files?: FileSystem;
}
