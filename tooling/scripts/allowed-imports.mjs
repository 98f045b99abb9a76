/** The arrows between packages: the table of docs/architecture.md says which package may import which. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Names in backticks of a cell of the table. */
const namesIn = (cell) => [...cell.matchAll(/`([\w*-]+)`/g)].map(([, name]) => name);

/** Rows of the table under "## Packages": the packages that a row is about, and what they may import. */
function rowsOf(root) {
  const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  const section = page.slice(page.indexOf('## Packages'), page.indexOf('## The steps of a run'));
  return [...section.matchAll(/^\| (.*?) \| .*? \| (.*?) \|$/gm)].map(([, packages, imports]) => ({
    packages: namesIn(packages),
    isMethods: packages.startsWith('one package a method'),
    imports: imports.trim() === 'everything' ? undefined : new Set(namesIn(imports)),
  }));
}

/**
 * A line for each dependency of a package's manifest that the table does not allow, and one for a package without a row.
 * @param {string} root of the repository
 * @param {{ name: string, manifest: Record<string, any> }[]} packages
 * @returns {string[]}
 */
export function importBreaches(root, packages) {
  const rows = rowsOf(root);
  return packages.flatMap(({ name, manifest }) => {
    const isMethod = manifest.q?.kind === 'method';
    const row = rows.find(({ packages, isMethods }) =>
      isMethods
        ? isMethod
        : packages.some((pattern) =>
            pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name,
          ),
    );
    if (!row) return [`packages/${name}: the table of docs/architecture.md has no row for it`];
    if (!row.imports) return [];
    return Object.keys(manifest.dependencies ?? {})
      .filter((dependency) => dependency.startsWith('@q/') && !row.imports.has(dependency.slice(3)))
      .map(
        (dependency) =>
          `packages/${name} depends on ${dependency}: docs/architecture.md allows ${[...row.imports].join(', ') || 'nothing'}`,
      );
  });
}

/**
 * A line for each import of a contract from another folder of core: every other folder imports the contracts.
 * @param {string} shown path of a source file
 * @param {string} text
 * @returns {string[]}
 */
export function contractBreaches(shown, text) {
  if (!shown.startsWith('packages/core/src/contracts/')) return [];
  return [...text.matchAll(/ from '(?!\.\/)([^']+)'/g)].map(
    ([, path]) => `${shown} imports ${path}: a contract imports other contracts alone`,
  );
}
