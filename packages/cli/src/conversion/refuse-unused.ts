import type { Vocabulary } from '@q/pipeline';
import { type FlagValues, flagOf } from '../command.js';
import { recipeFlagNames } from '../recipe-flags.js';
import { UsageError } from '../usage-error.js';

/**
 * A flag that a conversion would not look at must not be passed over: without it the file would be another one than was asked for.
 * @param flags that were given
 * @param unused keys of flags that this conversion has no use for
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
