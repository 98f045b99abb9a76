import type { Random } from '@q/core';

/** A reader of outside data. */
export interface FuzzedParser {
  readonly name: string;
  /**
   * Makes one mutated input and reads it. Errors of the toolkit's own classes are correct answers; any other error is a
   * finding.
   * @returns bytes of the input, and the values that must be finite
   */
  run(random: Random): Promise<FuzzedCase>;
  /** Removes its files from the disk. */
  close?(): Promise<void>;
}

interface FuzzedCase {
  readonly bytes: number;
  readonly finite?: readonly ArrayLike<number>[];
}
