/** Runs pnpm at the version that package.json pins, on a machine that may have only Node and npm. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const version = packageManager.split('@')[1];
const windows = process.platform === 'win32';

let command;

/** The installed pnpm if it has the pinned version, else one that npm downloads. */
function pnpmCommand() {
  if (command) return command;
  const found = spawnSync('pnpm', ['--version'], { cwd: root, encoding: 'utf8', shell: windows });
  command =
    found.status === 0 && found.stdout.trim() === version
      ? ['pnpm']
      : [windows ? 'npm.cmd' : 'npm', 'exec', '--yes', `--package=pnpm@${version}`, '--', 'pnpm'];
  return command;
}

/**
 * Runs pnpm in the root of the workspace.
 * @param {string[]} args
 * @param {import('node:child_process').StdioOptions} [stdio]
 * @returns {Promise<number>} its exit code
 */
export function runPnpm(args, stdio = 'inherit') {
  const [file, ...first] = pnpmCommand();
  return new Promise((done) => {
    const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' };
    const child = spawn(file, [...first, ...args], { cwd: root, stdio, env, shell: windows });
    const forward = (signal) => child.kill(signal);
    process.on('SIGINT', forward);
    process.on('SIGTERM', forward);
    const end = (code) => {
      process.off('SIGINT', forward);
      process.off('SIGTERM', forward);
      done(code);
    };
    child.on('error', (error) => {
      console.error(`Could not run ${file}: ${error.message}`);
      end(1);
    });
    child.on('exit', (code, signal) => end(signal ? 128 + (signal === 'SIGINT' ? 2 : 15) : code));
  });
}

/**
 * Installs from the frozen lockfile if that is newer than the installed packages. Ends the process if the installation
 * fails.
 */
export async function ensureInstalled() {
  const installed = join(root, 'node_modules', '.modules.yaml');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'pnpm-lock.yaml')).mtimeMs) return;
  console.error(`Installing with pnpm ${version} …`);
  // Output goes to standard error, because a command that installs first may print JSON to standard output.
  const code = await runPnpm(
    ['install', '--frozen-lockfile', '--reporter=append-only', '--loglevel=warn'],
    ['inherit', 2, 2],
  );
  if (code === 0) return;
  console.error(
    `Installing failed (exit code ${code}). The lines above say why; a network that answers is needed the first time.`,
  );
  process.exit(code);
}
