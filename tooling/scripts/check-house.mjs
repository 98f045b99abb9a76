/** Checks the rules of the house that no linter knows. It prints every breach and exits with 1 if there is one. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { contractBreaches, importBreaches } from './allowed-imports.mjs';
import { bundleBreaches } from './bundle-sizes.mjs';
import { forgottenKernels } from './kernels-handed-on.mjs';
import { manifestBreaches } from './package-manifest.mjs';
import { longParameterLists, parameterBreaches } from './parameter-lists.mjs';
import { longLineBreaches, wordBreaches } from './plain-words.mjs';
import { publicNameBreaches } from './public-names.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const maxLines = 500;
const breaches = [];
const packages = [];

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory())
      return ['generated', 'node_modules', 'dist', '.turbo'].includes(entry.name) ? [] : sources(path);
    return /\.(ts|tsx|mts)$/.test(entry.name) ? [path] : [];
  });
}

for (const name of readdirSync(join(root, 'packages'))) {
  const folder = join(root, 'packages', name);
  const manifestPath = join(folder, 'package.json');
  if (!existsSync(manifestPath)) continue;
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  const dependencies = Object.keys(manifest.dependencies ?? {});
  packages.push({ name, manifest });
  if (name === 'core' && dependencies.length > 0)
    breaches.push(`packages/core depends on ${dependencies}: it has no dependency`);
  breaches.push(...manifestBreaches(name, manifest));
  if (manifest.q?.kind === 'method' && dependencies.some((dependency) => dependency !== '@q/core')) {
    breaches.push(`packages/${name} is a method and depends on ${dependencies}: @q/core alone is allowed`);
  }
  if (!existsSync(join(folder, 'README.md'))) breaches.push(`packages/${name} has no README.md`);
  for (const path of existsSync(join(folder, 'src')) ? sources(join(folder, 'src')) : []) {
    const text = readFileSync(path, 'utf8');
    const shown = path.slice(root.length);
    const lines = text.split('\n').length;
    if (lines > maxLines) breaches.push(`${shown} has ${lines} lines: one concept a file, at most ${maxLines}`);
    if (name !== 'tfjs' && /from '@tensorflow\//.test(text))
      breaches.push(`${shown} imports tfjs: only packages/tfjs may`);
    if (/\b(it|test|describe)\.(skip|only)\(/.test(text)) breaches.push(`${shown}: a test is skipped or alone`);
    breaches.push(...contractBreaches(shown, text));
    if (/\bexport default\b/.test(text)) breaches.push(`${shown}: default export`);
  }
}
breaches.push(...importBreaches(root, packages));

/** Anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page) {
  const anchors = new Set();
  for (const [, heading] of readFileSync(page, 'utf8').matchAll(/^#+ (.+)$/gm))
    anchors.add(
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    );
  return anchors;
}

/** Pages of a folder of the repository. */
function pagesOf(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory())
      return ['node_modules', 'dist', 'src', 'demo', '.turbo'].includes(entry.name) ? [] : pagesOf(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

// Comments cite headings of docs/reference: each of them must exist.
const pages = new Map();
for (const folder of ['packages', 'tooling']) {
  for (const path of sources(join(root, folder))) {
    for (const [, page, anchor] of readFileSync(path, 'utf8').matchAll(
      /(docs\/reference\/[\w-]+\.md)(?:#([\w-]+))?/g,
    )) {
      const shown = path.slice(root.length);
      if (!existsSync(join(root, page))) {
        breaches.push(`${shown} cites ${page}, which does not exist`);
        continue;
      }
      if (!pages.has(page)) pages.set(page, anchorsOf(join(root, page)));
      if (anchor !== undefined && !pages.get(page).has(anchor))
        breaches.push(`${shown} cites ${page}#${anchor}: there is no such heading`);
    }
  }
}
// Checks of words, lists of parameters and public names.
const longLists = [];
for (const folder of ['packages', 'tooling']) {
  for (const path of sources(join(root, folder))) {
    const text = readFileSync(path, 'utf8');
    const shown = path.slice(root.length);
    breaches.push(...wordBreaches(shown, text), ...forgottenKernels(shown, text));
    if (!/\.test\.ts$|\/assembly\//.test(path)) longLists.push(...longParameterLists(shown, text));
  }
}
for (const shown of pagesOf('docs').concat(pagesOf('packages'), 'README.md', 'CONTRIBUTING.md')) {
  const text = readFileSync(join(root, shown), 'utf8');
  breaches.push(...wordBreaches(shown, text), ...longLineBreaches(shown, text));
}
breaches.push(...parameterBreaches(root, longLists), ...publicNameBreaches(), ...(await bundleBreaches(root)));

for (const breach of breaches) console.error(breach);
if (breaches.length > 0) process.exit(1);
console.log('The house is in order.');
