import { createHash } from 'node:crypto';
import { QuantError } from '@q/core';

/**
 * Storage for weights and results that several machines share: whole objects by name. An object never changes: the
 * first published one stays. Names are plain paths with `/`.
 */
export interface Store {
  /** For messages. */
  readonly name: string;
  /**
   * Bytes `[begin, end)`; all when absent.
   * @returns undefined when there is no such object
   * @throws StoreError when the store does not answer, or the range is beyond the object
   */
  read(name: string, begin?: number, end?: number): Promise<Uint8Array | undefined>;
  has(name: string): Promise<boolean>;
  /**
   * Publishes an object, completely or not at all. An existing object stays as it is.
   * @returns whether this call published it
   */
  publish(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Removes an object; does nothing when there is none. */
  remove(name: string): Promise<void>;
}

/** A store that cannot be reached, is full, or lacks an object. */
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

/** Objects are in folders named by their first two letters, since a folder of a hundred thousand files is slow. */
export const objectName = (kind: 'tensors' | 'results' | 'runs', sum: string) => `${kind}/${sum.slice(0, 2)}/${sum}`;

/**
 * SHA-256 of texts and bytes, hexadecimal. The length of each part comes first, so different lists of parts never have
 * the same bytes.
 */
export function sumOfParts(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const bytes = typeof part === 'string' ? new TextEncoder().encode(part) : part;
    hash.update(`${bytes.length} `).update(bytes);
  }
  return hash.digest('hex');
}
