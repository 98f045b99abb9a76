import type { FileSystem } from '@q/durable-files';
import { main } from '../main.js';

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process and returns its output. */
export async function runCommand(
  argv: readonly string[],
  signal: AbortSignal = new AbortController().signal,
  files?: FileSystem,
): Promise<CommandResult> {
  let out = '';
  let err = '';
  const code = await main(
    argv,
    {
      out: {
        write: (text) => {
          out += text;
        },
      },
      err: {
        write: (text) => {
          err += text;
        },
      },
    },
    signal,
    files,
  );
  return { code, out, err };
}
