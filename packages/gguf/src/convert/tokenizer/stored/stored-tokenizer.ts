import { FormatError } from '@q/core';
import type { GgufMetadata, GgufScalar } from '../../../metadata.js';

/** `tokenizer.*` of a file. Every error names the file, the key, what was found and what was expected. */
export class StoredTokenizer {
  readonly tokens: readonly string[];
  /** ggml's kinds, see `tokenKinds`; all normal if the file does not say. */
  readonly kinds: readonly number[];

  /** @param name of the file, for messages */
  constructor(
    readonly name: string,
    readonly metadata: GgufMetadata,
  ) {
    this.tokens = this.#list('tokens', 'string') as readonly string[];
    this.kinds = (this.#list('token_type', 'number', this.tokens.length) as readonly number[] | undefined) ?? [];
    if (this.kinds.length === 0) this.kinds = this.tokens.map(() => 1);
  }

  text(key: string): string | undefined {
    const value = this.metadata.get(`tokenizer.${key}`)?.value;
    if (value === undefined || typeof value === 'string') return value;
    throw new FormatError(`${this.name}: tokenizer.${key} is not a text of UTF-8`);
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.metadata.get(`tokenizer.ggml.${key}`)?.value ?? absent;
    if (typeof value === 'boolean') return value;
    throw new FormatError(`${this.name}: tokenizer.ggml.${key} is ${value}: true or false was expected`);
  }

  /**
   * The id of a special token (`bos`, `eos`, `unknown`, `padding`, `seperator`, `cls`, `mask`, `eot`), if the file has
   * it.
   */
  id(role: string): number | undefined {
    const value = this.metadata.get(`tokenizer.ggml.${role}_token_id`)?.value;
    if (value === undefined) return undefined;
    const id = Number(value);
    if (Number.isInteger(id) && id >= 0 && id < this.tokens.length) return id;
    // Older files write -1 for none.
    if (id === -1 || id === 2 ** 32 - 1) return undefined;
    throw new FormatError(
      `${this.name}: tokenizer.ggml.${role}_token_id is ${value}: one of ${this.tokens.length} tokens was expected`,
    );
  }

  /** One a token. */
  get scores(): readonly number[] {
    return this.#list('scores', 'number', this.tokens.length, true) as readonly number[];
  }

  /** Pairs of tokens, in the order of merging. */
  get merges(): readonly (readonly [string, string])[] {
    const merges = this.#list('merges', 'string') as readonly string[];
    return merges.map((merge, index) => {
      const at = merge.indexOf(' ', 1);
      if (at < 0)
        throw new FormatError(
          `${this.name}: tokenizer.ggml.merges: element ${index} is ${JSON.stringify(merge)}: two tokens were expected`,
        );
      return [merge.slice(0, at), merge.slice(at + 1)];
    });
  }

  bytes(key: string): Uint8Array | undefined {
    const found = this.metadata.get(`tokenizer.ggml.${key}`);
    if (found?.type !== 'array') return undefined;
    return Uint8Array.from(found.value as readonly number[]);
  }

  /** A list that must exist, or an optional one that must have this length. */
  #list(key: string, type: 'string' | 'number', length?: number, needed = length === undefined) {
    const full = `tokenizer.ggml.${key}`;
    const found = this.metadata.get(full);
    if (!found && !needed) return undefined;
    if (found?.type !== 'array')
      throw new FormatError(`${this.name}: has no list ${full}: its tokenizer cannot be made without it`);
    const odd = found.value.findIndex((item: GgufScalar) => typeof item !== type);
    if (odd >= 0)
      throw new FormatError(
        `${this.name}: ${full}: element ${odd} is no ${type === 'string' ? 'text of UTF-8' : 'number'}`,
      );
    if (length !== undefined && found.value.length !== length)
      throw new FormatError(`${this.name}: ${full} has ${found.value.length} elements, and there are ${length} tokens`);
    return found.value;
  }
}
