import { spawn } from 'node:child_process';

export interface ProcessResult {
  /** Exit code; undefined when the program could not start, or a signal or the time limit ended it. */
  readonly code: number | undefined;
  readonly out: string;
  readonly err: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  /** Put before the folders of PATH. */
  readonly path?: string;
  readonly signal?: AbortSignal;
  /** The time limit. */
  readonly timeoutSeconds?: number;
}

/** Runs a program to its end and returns its output. Throws only when `signal` aborts. */
export async function runProcess(
  command: string,
  argv: readonly string[],
  options: ProcessOptions = {},
): Promise<ProcessResult> {
  const { cwd, path, signal, timeoutSeconds } = options;
  signal?.throwIfAborted();
  const env = path ? { ...process.env, PATH: `${path}:${process.env['PATH'] ?? ''}` } : process.env;
  const result = await new Promise<ProcessResult>((resolve) => {
    let [out, err] = ['', ''];
    const child = spawn(command, argv, {
      cwd,
      env,
      signal,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(timeoutSeconds ? { timeout: timeoutSeconds * 1000 } : {}),
    });
    child.stdout.on('data', (data) => {
      out += data;
    });
    child.stderr.on('data', (data) => {
      err += data;
    });
    child.on('error', (error) => resolve({ code: undefined, out, err: `${err}${error.message}` }));
    child.on('close', (code) => resolve({ code: code ?? undefined, out, err }));
  });
  signal?.throwIfAborted();
  return result;
}

/** The most useful line of a failure's output: the first that looks like an error, else the last one. */
export function reason({ out, err, code }: ProcessResult): string {
  const lines = `${out}\n${err}`
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  const named =
    lines.find((line) => /^(\w*Error|ERROR|error|npm error)\b.*:|\berror: /.test(line)) ??
    lines.find((line) => /cannot|could not|no such|denied|not found/i.test(line));
  return named ?? lines.at(-1) ?? (code === undefined ? 'it could not be started' : `exit code ${code}`);
}
