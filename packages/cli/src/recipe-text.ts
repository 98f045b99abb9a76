import { isCollection, LineCounter, parseDocument, visit } from 'yaml';
import { UsageError } from './usage-error.js';

/**
 * The value of a recipe file, as `readRecipe` takes it: JSON when the path ends with `.json`, else YAML. An empty file is an
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

/** What YAML itself warns of (an unknown tag, an ambiguous alias) is a slip of the pen in a recipe. */
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
    // As text, which an object would have it, a key of many levels takes seconds.
    Pair: (_, { key }) =>
      isCollection(key) ? refuse('a key must be a word, found a list or a map', key.range?.[0] ?? 0) : undefined,
    // The value would hold itself, and could not be shown in a message. An alias can name nothing that comes later: it closes every circle.
    Alias: (_, alias, path) => {
      const target = alias.resolve(document);
      if (target && path.includes(target)) refuse(`*${alias.source} refers to itself`, alias.range?.[0] ?? 0);
    },
  });
  return document.toJS();
}
