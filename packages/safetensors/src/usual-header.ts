/** What a header says of one tensor; offsets are relative to the data. */
export type FoundEntry = (name: string, dtype: string, shape: readonly number[], begin: number, end: number) => void;

const [quote, comma, colon, open, close, begin, end, zero, space] = [...'",:{}[]0 '].map((c) => c.charCodeAt(0));
const words = ['"dtype"', '"shape"', '"data_offsets"'].map((word) => Uint8Array.from(word, (c) => c.charCodeAt(0)));
/** A double holds every whole number of so many digits. */
const mostDigits = 15;
/** Characters of a name or a text that are made into a string at once: the arguments of a call are on the stack. */
const mostCharacters = 4096;

/** Anything that the general scanner has to look at. */
class Unusual extends Error {}

/**
 * Reads a header as every writer writes it, in one pass over its bytes: no text of it all is made, and equal shapes are one
 * array. A file may have hundreds of thousands of tensors.
 * @param found told of every tensor, in order
 * @returns the texts of `__metadata__`; nothing where something is unusual, and what was found does not count: escapes, characters
 *   beyond ASCII, other members or another order of them, numbers of more than 15 digits
 */
export function scanUsualHeader(bytes: Uint8Array, found: FoundEntry): Map<string, string> | undefined {
  try {
    return new UsualScanner(bytes).whole(found);
  } catch (error) {
    if (error instanceof Unusual) return undefined;
    throw error;
  }
}

class UsualScanner {
  #at = 0;
  readonly #shapes = new Map<string, readonly number[]>();
  readonly #dtypes = new Map<string, string>();

  constructor(private readonly bytes: Uint8Array) {}

  whole(found: FoundEntry): Map<string, string> {
    let metadata = new Map<string, string>();
    this.#take(open);
    do {
      const name = this.#text();
      this.#take(colon);
      if (name === '__metadata__') {
        if (metadata.size > 0) throw new Unusual();
        metadata = this.#metadata();
      } else this.#entry(name, found);
    } while (this.#taken(comma));
    this.#take(close);
    // Writers fill up with spaces.
    this.#skip();
    if (this.#at < this.bytes.length) throw new Unusual();
    return metadata;
  }

  #entry(name: string, found: FoundEntry): void {
    this.#take(open);
    this.#word(words[0]);
    const dtype = this.#text();
    this.#take(comma);
    this.#word(words[1]);
    const shape = this.#shape();
    this.#take(comma);
    this.#word(words[2]);
    this.#take(begin);
    const from = this.#number();
    this.#take(comma);
    const to = this.#number();
    this.#take(end);
    this.#take(close);
    let known = this.#dtypes.get(dtype);
    if (known === undefined) this.#dtypes.set(dtype, (known = dtype));
    found(name, known, shape, from, to);
  }

  #metadata(): Map<string, string> {
    const texts = new Map<string, string>();
    this.#take(open);
    do {
      const key = this.#text();
      this.#take(colon);
      if (texts.has(key)) throw new Unusual();
      texts.set(key, this.#text());
    } while (this.#taken(comma));
    this.#take(close);
    return texts;
  }

  #shape(): readonly number[] {
    this.#take(begin);
    const from = this.#at;
    while (this.#at < this.bytes.length && this.bytes[this.#at] !== end) this.#at++;
    const to = this.#at;
    const text = this.#slice(from, to);
    const known = this.#shapes.get(text);
    if (known) {
      this.#at++;
      return known;
    }
    this.#at = from;
    const sizes: number[] = [];
    if (this.bytes[this.#at] !== end) {
      do sizes.push(this.#number());
      while (this.#taken(comma));
    }
    if (this.#at !== to) throw new Unusual();
    this.#take(end);
    this.#shapes.set(text, sizes);
    return sizes;
  }

  #number(): number {
    this.#skip();
    const from = this.#at;
    let value = 0;
    for (;;) {
      const digit = this.bytes[this.#at] - zero;
      if (!(digit >= 0 && digit <= 9)) break;
      value = 10 * value + digit;
      this.#at++;
    }
    const digits = this.#at - from;
    if (digits === 0 || digits > mostDigits || (digits > 1 && this.bytes[from] === zero)) throw new Unusual();
    return value;
  }

  /** Between quotes, of printable ASCII without escapes. */
  #text(): string {
    this.#take(quote);
    const from = this.#at;
    for (;;) {
      const byte = this.bytes[this.#at];
      if (byte === quote) break;
      // The end of the bytes is not a number, and no comparison with it holds.
      if (!(byte >= 0x20 && byte < 0x7f) || byte === 0x5c) throw new Unusual();
      this.#at++;
    }
    return this.#slice(from, this.#at++);
  }

  #slice(from: number, to: number): string {
    if (to - from > mostCharacters) throw new Unusual();
    return String.fromCharCode.apply(null, this.bytes.subarray(from, to) as unknown as number[]);
  }

  /** A key and its colon. */
  #word(word: Uint8Array): void {
    this.#skip();
    for (let i = 0; i < word.length; i++) if (this.bytes[this.#at + i] !== word[i]) throw new Unusual();
    this.#at += word.length;
    this.#take(colon);
  }

  #take(mark: number): void {
    if (!this.#taken(mark)) throw new Unusual();
  }

  #taken(mark: number): boolean {
    this.#skip();
    if (this.bytes[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #skip(): void {
    while (this.bytes[this.#at] === space) this.#at++;
  }
}
