import type { Vocabulary } from '@q/pipeline';
import { type FlagValues, flagOf } from '../command.js';
import { recipeFlagNames } from '../recipe-flags.js';
import { UsageError } from '../usage-error.js';

/**
 * Refuses flags that a conversion would ignore: the file would not be the requested one.
 * @param flags that were given
 * @param unused keys of flags that this conversion does not read
 * @param why in words, and what to do
 * @throws UsageError naming the flag
 */
export function refuseUnused(flags: FlagValues, unused: readonly string[], why: string): void {
  const given = unused.find((key) => flags[key] !== undefined);
  if (given !== undefined) throw new UsageError(`${flagOf(given)}: ${why}`);
}

/** The same for all flags of recipes but those in `used`. */
export function refuseRecipe(flags: FlagValues, vocabulary: Vocabulary, used: readonly string[], why: string): void {
  refuseUnused(
    flags,
    recipeFlagNames(vocabulary).filter((key) => !used.includes(key)),
    why,
  );
}
