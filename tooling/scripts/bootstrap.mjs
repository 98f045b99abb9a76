/**
 * What `npm start` and `npm test` call. A fresh machine has Node and npm alone, so this brings pnpm at the version that
 * package.json pins, installs from the frozen lockfile when needed, and hands over to the pnpm script named by the first
 * argument.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { packageManager, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const version = packageManager.split('@')[1];

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `This needs Node ${engines.node}; this is ${process.versions.node}. Install a newer Node and try again.`,
  );
  process.exit(1);
}

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
const shell = process.platform === 'win32';

/** The pnpm to use: the one on the path when it is the pinned version, else one that npm brings. */
function pnpmCommand() {
  const found = spawnSync('pnpm', ['--version'], { cwd: root, encoding: 'utf8', shell });
  if (found.status === 0 && found.stdout.trim() === version) return ['pnpm'];
  return [npm, 'exec', '--yes', `--package=pnpm@${version}`, '--', 'pnpm'];
}

function run(command, args) {
  return new Promise((done) => {
    const child = spawn(command[0], [...command.slice(1), ...args], { cwd: root, stdio: 'inherit', shell });
    const forward = (signal) => child.kill(signal);
    process.on('SIGINT', forward);
    process.on('SIGTERM', forward);
    child.on('error', (error) => {
      console.error(`Could not run ${command[0]}: ${error.message}`);
      done(1);
    });
    child.on('exit', (code, signal) => done(signal ? 128 + (signal === 'SIGINT' ? 2 : 15) : code));
  });
}

const pnpm = pnpmCommand();
const installed = join(root, 'node_modules', '.modules.yaml');
const stale = !existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, 'pnpm-lock.yaml')).mtimeMs;
if (stale) {
  console.error(`Installing with pnpm ${version} …`);
  const code = await run(pnpm, ['install', '--frozen-lockfile', '--reporter=append-only', '--loglevel=warn']);
  if (code !== 0) {
    console.error(
      `Installing failed (exit code ${code}). The lines above say why; a network that answers is needed the first time.`,
    );
    process.exit(code || 1);
  }
}
process.exit(await run(pnpm, ['run', '--silent', ...process.argv.slice(2)]));
