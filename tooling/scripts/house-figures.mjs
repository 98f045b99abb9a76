/**
 * `pnpm figures:house [--base COMMIT]` prints the table of docs/house.md with figures of a base commit and of now:
 * public names, lines, lists of parameters, places that an option touches, bytes of bundles. `--base` is the base
 * commit (default ad4c4c6).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundleSize, bundles } from './bundle-sizes.mjs';
import { longParameterLists } from './parameter-lists.mjs';
import { publicNames } from './public-names.mjs';

const { values } = parseArgs({ options: { base: { type: 'string', default: 'ad4c4c6' } } });
const root = fileURLToPath(new URL('../..', import.meta.url));
const git = (...words) => execFileSync('git', ['-C', root, ...words], { encoding: 'buffer', maxBuffer: 1 << 30 });

/** Writes the files of the packages at a commit to a separate folder. */
function checkout(commit) {
  const folder = mkdtempSync(join(tmpdir(), 'q-house-'));
  execFileSync('tar', ['-x', '-C', folder], { input: git('archive', commit, 'packages') });
  return folder;
}

const isSource = (path) =>
  path.endsWith('.ts') && !path.endsWith('.test.ts') && !/(^|\/)(testing|generated|assembly)\//.test(path);

/** Sources below a folder of a state, without tests and files that only tests need. */
function sources(state, folder) {
  const base = join(state, folder);
  if (!existsSync(base)) return [];
  return readdirSync(base, { recursive: true })
    .filter((path) => !/(^|\/)(node_modules|dist)\//.test(path) && isSource(path))
    .map((path) => join(folder, path));
}

const lines = (state, paths) =>
  paths.reduce((sum, path) => sum + readFileSync(join(state, path), 'utf8').split('\n').length - 1, 0);

/** Number of names that a package of a state exports from its main entry. */
function nameCount(state, name) {
  const folder = join(state, 'packages', name);
  return existsSync(join(folder, 'package.json'))
    ? publicNames(folder)
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#')).length
    : undefined;
}

/** Number of lines and files of sources and tests that contain a word. */
function mentions(commit, word) {
  const found = git('grep', '-c', word, commit, '--', 'packages/*.ts', 'docs/*.md', 'packages/*.md')
    .toString()
    .trim()
    .split('\n')
    .filter((line) => !line.includes('.test.ts'));
  const count = found.reduce((sum, line) => sum + Number(line.split(':').at(-1)), 0);
  return `${count} lines in ${found.length} files`;
}

async function figuresOf(state, commit) {
  const packages = readdirSync(join(state, 'packages'));
  const all = packages.flatMap((name) => sources(state, join('packages', name, 'src')));
  const lists = all
    .flatMap((path) => longParameterLists(path, readFileSync(join(state, path), 'utf8')))
    .map((line) => line.split(' '))
    .sort((a, b) => Number(b[2]) - Number(a[2]));
  const rows = new Map([
    ['packages', packages.length],
    ['public names, all packages', packages.reduce((sum, name) => sum + (nameCount(state, name) ?? 0), 0)],
    ...['core', 'gptq', 'pipeline', 'models', 'qat', 'kernels-webgpu'].map((name) => [
      `public names, ${name}`,
      nameCount(state, name),
    ]),
    ['lines, core', lines(state, sources(state, 'packages/core/src'))],
    [
      'lines, registry of the command',
      lines(
        state,
        sources(state, 'packages/cli/src').filter((path) => path.endsWith('/registry.ts')),
      ),
    ],
    [
      'lines, recipe reader',
      lines(
        state,
        all.filter((path) => /recipe-options\.ts$|recipe\/file\/|recipe-file\/|cli\/src\/recipe\//.test(path)),
      ),
    ],
    ['files of `pipeline/src` in one folder, at most', mostInOneFolder(sources(state, 'packages/pipeline/src'))],
    ['functions of more than five parameters', lists.length],
    ['longest list of parameters', lists[0] ? `${lists[0][2]} (\`${lists[0][1]}\`)` : 0],
    ['lines that name one option (`refineRounds`), documentation too', mentions(commit, 'refineRounds')],
  ]);
  for (const bundle of bundles) {
    const size = await bundleSize(state, bundle).catch(() => undefined);
    rows.set(`bytes of \`import { ${bundle.names} } from '${bundle.from}'\``, size?.toLocaleString('en'));
  }
  return rows;
}

function mostInOneFolder(paths) {
  const counts = new Map();
  for (const path of paths) counts.set(join(path, '..'), (counts.get(join(path, '..')) ?? 0) + 1);
  return Math.max(...counts.values());
}

const base = checkout(values.base);
try {
  const [before, now] = [await figuresOf(base, values.base), await figuresOf(root, 'HEAD')];
  console.log(`| what | ${values.base} | now |\n| --- | --- | --- |`);
  for (const [what, value] of now) console.log(`| ${what} | ${before.get(what) ?? '-'} | ${value ?? '-'} |`);
} finally {
  rmSync(base, { recursive: true });
}
