/**
 * Finds functions with more than five positional parameters. `long-parameter-lists.txt` names the functions that are
 * older than the rule. A new function is a breach, and so is an outdated line of the list, so the list only shrinks.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const most = 5;
const listName = 'tooling/scripts/long-parameter-lists.txt';

/** `path name count` of each function of a file with too many parameters. */
export function longParameterLists(shown, text) {
  const found = [];
  const visit = (node) => {
    const count = node.parameters?.length ?? 0;
    if (count > most)
      found.push(`${shown} ${node.name?.getText?.() ?? node.parent?.name?.getText?.() ?? 'constructor'} ${count}`);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(shown, text, ts.ScriptTarget.Latest, true));
  return found;
}

/** Compares the lists found in all files with the committed one. */
export function parameterBreaches(root, found) {
  const known = readFileSync(join(root, listName), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return [
    ...found
      .filter((line) => !known.includes(line))
      .map((line) => `${line} parameters: at most ${most}; take an object instead`),
    ...known
      .filter((line) => !found.includes(line))
      .map((line) => `${listName}: "${line}" is true no more: take the line away`),
  ];
}
