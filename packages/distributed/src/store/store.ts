import { createHash } from 'node:crypto';
import { QuantError } from '@q/core';

/**
 * Where weights and results lie that several machines work on: objects by name, as a whole. An object never changes: what is
 * published first stays. Names are plain paths with `/`.
 */
export interface Store {
  /** For messages. */
  readonly name: string;
  /**
   * Bytes `[begin, end)`; all when absent.
   * @returns nothing when there is no such object
   * @throws StoreError when the store does not answer, or the range is beyond the object
   */
  read(name: string, begin?: number, end?: number): Promise<Uint8Array | undefined>;
  has(name: string): Promise<boolean>;
  /**
   * The object is there as a whole or not at all. One that is there already stays as it is.
   * @returns whether it was published by this call
   */
  publish(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Nothing happens when there is none. */
  remove(name: string): Promise<void>;
}

/** A store that cannot be reached, is full, or has not what it should have. */
export class StoreError extends QuantError {
  override name = 'StoreError';

  /** @param passing whether the same request may succeed a moment later */
  constructor(
    message: string,
    readonly passing = false,
  ) {
    super(message);
  }
}

/** Objects are kept in folders of their first two letters: a folder of a hundred thousand files is slow. */
export const objectName = (kind: 'tensors' | 'results' | 'runs', sum: string) => `${kind}/${sum.slice(0, 2)}/${sum}`;

/** SHA-256 of texts and bytes, hexadecimal. Each part is preceded by its length: no two lists of parts have the same bytes. */
export function sumOfParts(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const bytes = typeof part === 'string' ? new TextEncoder().encode(part) : part;
    hash.update(`${bytes.length} `).update(bytes);
  }
  return hash.digest('hex');
}
