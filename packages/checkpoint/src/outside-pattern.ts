import { FormatError } from '@q/core';
import { RE2JS } from 're2js';

/** Lengths that no pattern of a model's config reaches. */
const mostCharacters = 10_000;

/**
 * A regular expression out of a file, as Python's `re.match` applies it: at the start of a name. It is matched without
 * backtracking, in time linear in the name: an expression from outside must not decide how long a program runs.
 * @param where file and key, for messages
 * @throws FormatError for what is no regular expression, or has look-around or back-references, which need backtracking
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
