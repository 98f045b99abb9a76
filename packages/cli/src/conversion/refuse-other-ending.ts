import { UsageError } from '../usage-error.js';

/**
 * Refuses an output whose name does not say what the file is: readers go by the ending.
 * @param endings `['.gguf']`, in small letters; those of the output may be large
 * @param why a clause that names the reader's need
 * @throws UsageError with a name that would be accepted
 */
export function refuseOtherEnding(output: string, endings: readonly [string, ...string[]], why: string): void {
  if (endings.some((ending) => output.toLowerCase().endsWith(ending))) return;
  throw new UsageError(
    `${output}: its name does not end in ${endings.join(' or ')}: ${why}: write ${output}${endings[0]}, for example`,
  );
}
