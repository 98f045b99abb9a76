/**
 * `pnpm q …` runs the built command if no source is newer, else the command from the sources. So nobody waits for a
 * build, and nobody runs an old one.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureInstalled, root, runPnpm } from './pnpm.mjs';

const packages = join(root, 'packages');

/** Newest modification below `folder`; 0 if it does not exist. Tests do not count. */
function newest(folder) {
  let time = 0;
  for (const entry of existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : []) {
    if (entry.name === 'generated' || entry.name.endsWith('.test.ts')) continue;
    const path = join(folder, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

/** The command's package and every package of the workspace on which it depends. */
function withDependencies(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  const { dependencies = {} } = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8'));
  for (const dependency of Object.keys(dependencies))
    if (dependency.startsWith('@q/')) withDependencies(dependency.slice(3), found);
  return found;
}

const parts = [...withDependencies('cli')];
const isBuilt = parts.every((name) => {
  const built = join(packages, name, 'dist', 'index.js');
  return existsSync(built) && newest(join(packages, name, 'src')) <= statSync(built).mtimeMs;
});
await ensureInstalled();
// pnpm runs scripts in the folder of package.json; paths are relative to the user's folder.
const cwd = process.env.INIT_CWD ?? process.cwd();
if (isBuilt) {
  process.chdir(cwd);
  const bin = join(packages, 'cli', 'dist', 'bin.js');
  process.argv[1] = bin;
  await import(pathToFileURL(bin).href);
} else {
  await generate();
  const tsx = import.meta.resolve('tsx');
  const bin = join(packages, 'cli', 'src', 'bin.ts');
  const child = spawn(process.execPath, ['--conditions=@q/source', '--import', tsx, bin, ...process.argv.slice(2)], {
    cwd,
    stdio: 'inherit',
  });
  // A terminal sends Ctrl-C to both processes. The command decides what to do.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => {
    process.exitCode = signal ? 1 : code;
  });
}

/** Makes generated files (WebAssembly modules) that are absent or older than their sources. */
async function generate() {
  for (const name of parts) {
    const folder = join(packages, name);
    const source = newest(join(folder, 'assembly'));
    const generated = join(folder, 'src', 'generated');
    const files = existsSync(generated) ? readdirSync(generated) : [];
    if (source === 0 || (files.length > 0 && files.every((file) => statSync(join(generated, file)).mtimeMs >= source)))
      continue;
    console.error(`Generating the code of @q/${name} …`);
    const code = await runPnpm(['--silent', '--filter', `@q/${name}`, 'run', 'generate'], ['ignore', 2, 2]);
    if (code !== 0) process.exit(1);
  }
}
