import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root, type Snippet } from './snippets.js';

const pages = fileURLToPath(new URL('../.cache/', import.meta.url));
const pagesConfig = fileURLToPath(new URL('../tsconfig.pages.json', import.meta.url));

/**
 * Writes a snippet to its own file. The file of a package's snippet is in the package, so imports are resolved as for a
 * reader of the package. A snippet of another page can import every package of the workspace.
 */
export function writeSnippet({ page, folder, line, code }: Snippet): string {
  const into = folder === root ? pages : join(folder, '.cache');
  mkdirSync(into, { recursive: true });
  const file = join(into, `${page.replaceAll(/[^a-zA-Z0-9]/g, '-')}-${line}.mts`);
  writeFileSync(file, code);
  return file;
}

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a TypeScript snippet in Node. Its temporary files are removed. */
export function runTypeScript(snippet: Snippet, file: string): Promise<Ran> {
  const config: Record<string, string> = snippet.folder === root ? { TSX_TSCONFIG_PATH: pagesConfig } : {};
  const tsx = import.meta.resolve('tsx');
  return withTemporaryFolder((folder) =>
    run(process.execPath, ['--conditions=@q/source', '--import', tsx, file], snippet.folder, {
      ...config,
      TMPDIR: folder,
    }),
  );
}

/** Runs shell lines in the root. Each line must succeed. They write to `mktemp -d`, which is removed afterwards. */
export function runShell({ code, folder }: Snippet): Promise<Ran> {
  return withTemporaryFolder((temporary) =>
    run('bash', ['-euo', 'pipefail', '-c', code], folder, { TMPDIR: temporary }),
  );
}

async function withTemporaryFolder(work: (folder: string) => Promise<Ran>): Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), 'q-readme-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(command: string, args: readonly string[], cwd: string, environment: Record<string, string>): Promise<Ran> {
  return new Promise((done, fail) => {
    const { NODE_OPTIONS: _, VITEST: __, INIT_CWD: ___, ...own } = process.env;
    const child = spawn(command, args, {
      cwd,
      env: { ...own, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, err]: string[][] = [[], []];
    child.stdout.on('data', (data) => out.push(`${data}`));
    child.stderr.on('data', (data) => err.push(`${data}`));
    child.on('error', fail);
    child.on('close', (code) => done({ code, out: out.join(''), err: err.join('') }));
  });
}
