/**
 * `npm start` and `npm test` call this script. It gets pnpm, installs if needed, and runs the pnpm script that the
 * first argument names.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, runPnpm } from './pnpm.mjs';

const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `This needs Node ${engines.node}; this is ${process.versions.node}. Install a newer Node and try again.`,
  );
  process.exit(1);
}
await ensureInstalled();
process.exit(await runPnpm(['run', '--silent', ...process.argv.slice(2)]));
