import type { Random } from '@q/core';

/** Something that reads what comes from outside. */
export interface FuzzedParser {
  readonly name: string;
  /**
   * Makes one mutated input and reads it. Errors of the toolkit's own classes are answers; any other is a finding.
   * @returns bytes of the input, and the values that must be finite
   */
  run(random: Random): Promise<FuzzedCase>;
  /** Removes what it keeps on the disk. */
  close?(): Promise<void>;
}

interface FuzzedCase {
  readonly bytes: number;
  readonly finite?: readonly ArrayLike<number>[];
}
