import { isCollection, LineCounter, parseDocument, visit } from 'yaml';
import { UsageError } from './usage-error.js';

/**
 * The value of a recipe file for `readRecipe`: JSON when the path ends with `.json`, else YAML. An empty file is an
 * empty recipe.
 * @param path for messages
 * @throws UsageError naming the file when it is neither
 */
export function parseRecipeText(text: string, path: string): unknown {
  const json = path.endsWith('.json');
  try {
    return (json ? JSON.parse(text) : parsedYaml(text)) ?? {};
  } catch (error) {
    throw new UsageError(`${path}: is not valid ${json ? 'JSON' : 'YAML'}: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** Warnings of YAML (an unknown tag, an ambiguous alias) are mistakes in a recipe. */
function parsedYaml(text: string): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { logLevel: 'error', prettyErrors: false, lineCounter });
  const refuse = (what: string, offset: number): never => {
    const { line, col } = lineCounter.linePos(offset);
    throw new Error(`${what} at line ${line}, column ${col}`);
  };
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem) refuse(problem.message, problem.pos[0]);
  visit(document, {
    // An object turns a key into text, which takes seconds for a key of many levels.
    Pair: (_, { key }) =>
      isCollection(key) ? refuse('a key must be a word, found a list or a map', key.range?.[0] ?? 0) : undefined,
    // The value would contain itself, and could not be shown in a message. An alias can only refer to earlier nodes, so
    // it closes every cycle.
    Alias: (_, alias, path) => {
      const target = alias.resolve(document);
      if (target && path.includes(target)) refuse(`*${alias.source} refers to itself`, alias.range?.[0] ?? 0);
    },
  });
  return document.toJS();
}
