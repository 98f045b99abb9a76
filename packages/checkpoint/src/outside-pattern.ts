import { FormatError } from '@q/core';
import { RE2JS } from 're2js';

/** Longer patterns than this are refused; no config of a model has one. */
const mostCharacters = 10_000;

/**
 * A regular expression from a file, matched like Python's `re.match`: at the start of a name. It is matched without
 * backtracking, in time linear in the name, because an expression from outside must not decide how long a program runs.
 * @param where file and key, for messages
 * @throws FormatError for text that is not a regular expression, or has look-around or back-references, which need
 *   backtracking
 */
export function outsidePattern(expression: unknown, where: string): (name: string) => boolean {
  if (typeof expression !== 'string' || expression.length > mostCharacters)
    throw new FormatError(
      `${where}: a regular expression of at most ${mostCharacters} characters was expected, found ${JSON.stringify(expression)?.slice(0, 60)}`,
    );
  try {
    // Python's end of text is RE2's `\z`; flags such as `(?i)` are the same in both.
    const pattern = RE2JS.compile(expression.replaceAll('\\Z', '\\z'));
    return (name) => pattern.matcher(name).lookingAt();
  } catch (error) {
    throw new FormatError(
      `${where}: ${JSON.stringify(expression.slice(0, 200))} cannot be matched without backtracking (${(error as Error).message}): write it without look-around and back-references`,
    );
  }
}
