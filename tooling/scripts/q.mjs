/** `pnpm q …`: builds the command when a source is newer than its build, then runs it in this process. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const packages = join(root, 'packages');

/** Newest modification below `folder`; tests do not count. */
function newest(folder) {
  let time = 0;
  for (const entry of existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : []) {
    if (entry.name === 'generated' || entry.name.endsWith('.test.ts')) continue;
    const path = join(folder, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

const stale = readdirSync(packages).some((name) => {
  const built = join(packages, name, 'dist', 'index.js');
  return !existsSync(built) || newest(join(packages, name, 'src')) > statSync(built).mtimeMs;
});
if (stale) {
  console.error('Building the command …');
  const { status } = spawnSync(
    'pnpm',
    ['exec', 'turbo', 'run', 'build', '--output-logs=errors-only', '--filter=@q/cli...', '--force'],
    {
      cwd: root,
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
    },
  );
  if (status !== 0) process.exit(1);
}
// pnpm runs scripts from the folder of package.json; paths are meant from where the person stands.
if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
const bin = join(packages, 'cli', 'dist', 'bin.js');
process.argv[1] = bin;
await import(pathToFileURL(bin).href);
