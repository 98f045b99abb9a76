import { join } from 'node:path';
import { type FileOptions, type FileRecord, nodeFiles } from '@q/durable-files';
import { toolkitVersion } from './toolkit-version.js';

/** The run of a finished folder, and the files that it has written. The report has it as `run`. */
export interface RunRecord {
  /** Hash of everything that decides the bytes of the result. */
  readonly identity: string;
  /** Version of the toolkit. */
  readonly version: string;
  /**
   * Size and sum of each file. The sum is SHA-256; for a weight file it is SHA-256 over its header and the SHA-256 of
   * each tensor in their order.
   */
  readonly files: readonly FileRecord[];
}

/** The report in the output folder. It is the last file that a run writes. */
export const reportName = 'q-report.json';

export const runRecord = (identity: string, files: readonly FileRecord[]): RunRecord => ({
  identity,
  version: toolkitVersion,
  files,
});

/** The report of a folder, with its run; undefined if there is none. */
export async function finishedReport(
  out: string,
  { files = nodeFiles }: FileOptions = {},
): Promise<{ readonly run: RunRecord; readonly [key: string]: unknown } | undefined> {
  const bytes = await files.readFile(join(out, reportName));
  if (!bytes) return undefined;
  try {
    const report = JSON.parse(new TextDecoder().decode(bytes));
    const { identity, version, files: records } = report.run;
    return typeof identity === 'string' && typeof version === 'string' && Array.isArray(records) ? report : undefined;
  } catch {
    return undefined;
  }
}

/** The run of a finished folder; undefined if its report does not name one. */
export const finishedRun = async (out: string, options: FileOptions = {}): Promise<RunRecord | undefined> =>
  (await finishedReport(out, options))?.run;
