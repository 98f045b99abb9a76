/**
 * The public names of every package: the exports of each entry of its `exports`. `public-names.txt` next to the
 * manifest lists them, so reviews see each change. `pnpm lint` compares the list; `pnpm public-names` writes it again.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const listName = 'public-names.txt';

/** Whether a statement has `export`. */
const isExported = (statement) =>
  ts.canHaveModifiers(statement) &&
  (ts.getModifiers(statement) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

/** Names that a binding declares: one, or those of a pattern. */
function boundNames(name) {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) => (ts.isOmittedExpression(element) ? [] : boundNames(element.name)));
}

/**
 * The exported names of a source file, with those of its `export *`. A name that is only a type is written `type Name`.
 */
function exportedNames(path, seen = new Set()) {
  if (seen.has(path)) return new Set();
  seen.add(path);
  const names = new Set();
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest);
  for (const statement of source.statements) {
    if (ts.isExportDeclaration(statement)) {
      const from = statement.moduleSpecifier?.text;
      const clause = statement.exportClause;
      const file = from?.startsWith('.') ? resolve(dirname(path), from.replace(/\.js$/, '.ts')) : undefined;
      if (!clause) for (const name of file ? exportedNames(file, seen) : [`* of ${from}`]) names.add(name);
      else if (ts.isNamespaceExport(clause)) names.add(clause.name.text);
      else {
        const theirs = file ? exportedNames(file) : undefined;
        for (const { name, propertyName, isTypeOnly } of clause.elements) {
          const asType =
            isTypeOnly || statement.isTypeOnly || theirs?.has(`type ${(propertyName ?? name).text}`) === true;
          names.add(asType ? `type ${name.text}` : name.text);
        }
      }
    } else if (isExported(statement)) {
      if (ts.isVariableStatement(statement))
        for (const { name } of statement.declarationList.declarations)
          for (const bound of boundNames(name)) names.add(bound);
      else if (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement))
        names.add(`type ${statement.name.text}`);
      else if (statement.name) names.add(statement.name.text);
    }
  }
  // A value and a type of one name are one export.
  for (const name of [...names])
    if (names.has(name.replace(/^type /, '')) && name.startsWith('type ')) names.delete(name);
  return names;
}

/** The lines of a package's list: a heading for each entry, and its names. */
export function publicNames(folder) {
  const { exports: entries = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const lines = [];
  for (const [entry, targets] of Object.entries(entries)) {
    const source = targets['@q/source'];
    if (!source?.endsWith('.ts')) continue;
    const bare = (name) => name.replace(/^type /, '');
    const names = [...exportedNames(join(folder, source))].sort((a, b) => (bare(a) < bare(b) ? -1 : 1));
    lines.push(`# ${entry}: ${names.length}`, ...names);
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** The packages with a manifest. */
export const packageFolders = () =>
  readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name))
    .filter((folder) => existsSync(join(folder, 'package.json')));

/** A line for every package whose list differs from its exports. */
export function publicNameBreaches() {
  return packageFolders().flatMap((folder) => {
    const path = join(folder, listName);
    const written = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
    const found = publicNames(folder).split('\n');
    const names = (lines) => lines.filter((line) => line !== '' && !line.startsWith('#'));
    const added = names(found).filter((name) => !written.includes(name));
    const gone = names(written).filter((name) => !found.includes(name));
    if (found.join('\n') === written.join('\n')) return [];
    const what = [...added.map((name) => `+ ${name}`), ...gone.map((name) => `- ${name}`)].join(', ') || 'the order';
    return [
      `${path.slice(root.length)} does not list what the package exports (${what}): run \`pnpm public-names\` if each name is meant to be public`,
    ];
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const folder of packageFolders()) {
    const text = publicNames(folder);
    if (text !== '') writeFileSync(join(folder, listName), text);
  }
}
