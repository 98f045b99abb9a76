/**
 * Follows docs/write-a-method.md outside of the repository: packs the packages, writes the page's files, runs its
 * steps, and checks the results. `node check.mjs WORK REPORT`; the packages must be built.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runPnpm } from '../../scripts/pnpm.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const [work, report] = process.argv.slice(2);
const packages = join(root, 'packages');
const failures = [];
let passed = 0;

function expectThat(what, condition, seen = '') {
  if (condition) passed++;
  else failures.push(`${what}${seen ? `: ${seen}` : ''}`);
  console.log(`${condition ? 'ok' : 'FAILED'}  ${what}`);
}

/** Runs a command. If it fails the check ends, because later steps depend on it. */
function run(command, words, options) {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8', ...options });
  if (status === 0) return stdout;
  console.error(stdout, stderr, error ?? '');
  throw new Error(`${[command, ...words].join(' ').slice(0, 200)} ended with ${status}`);
}

/** A package and the packages of the workspace that it depends on. */
function withDependencies(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  const { dependencies = {} } = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8'));
  for (const dependency of Object.keys(dependencies))
    if (dependency.startsWith('@q/')) withDependencies(dependency.slice(3), found);
  return found;
}

/** The fenced blocks of the page: files to write, and steps to run, in their order. */
function blocksOf(page) {
  return [...page.matchAll(/^```(\w+) (?:file=(\S+)|step)\n([\s\S]*?)^```$/gm)].map(([, , file, text]) => ({
    file,
    text,
  }));
}

const tarballs = join(work, 'tarballs');
mkdirSync(tarballs);
for (const name of withDependencies('conformance', withDependencies('cli'))) {
  if (!existsSync(join(packages, name, 'dist', 'index.js')))
    throw new Error(`packages/${name} is not built: pnpm build`);
  const code = await runPnpm(
    ['--dir', join(packages, name), 'pack', '--pack-destination', tarballs],
    ['ignore', 'ignore', 2],
  );
  if (code !== 0) throw new Error(`packages/${name} cannot be packed: pnpm ended with ${code}`);
}
console.log(`packed ${readdirSync(tarballs).length} packages`);

const demo = join(packages, 'cli', 'demo');
const env = {
  ...process.env,
  TARBALLS: tarballs,
  MODEL: join(demo, 'model'),
  TEXT: join(demo, 'text', 'calibration.txt'),
};
const folder = join(work, 'outside');
let said = '';
for (const { file, text } of blocksOf(readFileSync(join(root, 'docs', 'write-a-method.md'), 'utf8'))) {
  if (file) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  } else said += run('bash', ['-euo', 'pipefail', '-c', text], { cwd: folder, env });
}
expectThat('the conformance battery runs and passes', /# pass (1\d|[2-9]\d)/.test(said) && /# fail 0/.test(said));
expectThat('the help has the option of the method', /Options of descent:\s+--passes/.test(said));

const out = join(folder, 'work', 'out');
const written = JSON.parse(readFileSync(join(out, 'q-report.json'), 'utf8'));
const layers = written.layers ?? [];
expectThat('the report has every linear of the demo model', layers.length === 28, `${layers.length}`);
expectThat(
  'each layer was quantized by the method',
  layers.every(({ method }) => method === 'descent'),
);
const worse = layers.filter(({ error, rtnError }) => !(error <= rtnError));
expectThat('no layer is worse than round to nearest', worse.length === 0, worse.map(({ module }) => module).join(', '));
expectThat('the run records the module', JSON.stringify(written).includes('@me/descent'));
for (const failure of failures) console.error(failure);
writeFileSync(report, `${JSON.stringify({ passed, failed: failures.length, skipped: 0 })}\n`);
process.exitCode = failures.length > 0 ? 1 : 0;
