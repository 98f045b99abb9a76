import { join } from 'node:path';
import { type FileSystem, makeFolders, removeFolders, writeFileDurably } from '@q/durable-files';
import { UsageError } from '../usage-error.js';

/** A solved weight. */
export interface SolvedModule {
  readonly module: string;
  /** Rows in blocks. */
  readonly bytes: Uint8Array;
  readonly loss: number;
  readonly encoderLoss: number;
}

/** Solved weights in a folder next to the output file, so an interrupted conversion can go on. */
export interface SolvedStore {
  read(module: string): Promise<SolvedModule | undefined>;
  /** Writes a module, completely or not at all, even if the process ends. */
  write(solved: SolvedModule): Promise<void>;
  remove(): Promise<void>;
}

const recordName = 'run.json';
const headBytes = 16;

/**
 * @param identity of model, text, types and settings: results of another one are not used
 * @throws UsageError when the folder belongs to another run
 */
export async function openSolvedStore(folder: string, identity: string, files: FileSystem): Promise<SolvedStore> {
  const record = await files.readFile(join(folder, recordName));
  if (record && identityOf(record) !== identity)
    throw new UsageError(
      `${folder}: holds weights that were solved with another model, text, type or option: remove it to begin anew, or repeat that command`,
    );
  if (!record) {
    await makeFolders(folder, { files });
    await writeFileDurably(join(folder, recordName), `${JSON.stringify({ identity })}\n`, { files });
  }
  return {
    async read(module) {
      const content = await files.readFile(join(folder, module));
      if (!content) return undefined;
      const head = new DataView(content.buffer, content.byteOffset, headBytes);
      const [loss, encoderLoss] = [head.getFloat64(0, true), head.getFloat64(8, true)];
      return { module, bytes: content.slice(headBytes), loss, encoderLoss };
    },
    async write({ module, bytes, loss, encoderLoss }) {
      const content = new Uint8Array(headBytes + bytes.length);
      const head = new DataView(content.buffer);
      head.setFloat64(0, loss, true);
      head.setFloat64(8, encoderLoss, true);
      content.set(bytes, headBytes);
      await writeFileDurably(join(folder, module), content, { files });
    },
    remove: () => removeFolders(folder, { files }),
  };
}

/** Undefined if the record has another form. */
function identityOf(record: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(record)).identity;
  } catch {
    return undefined;
  }
}
