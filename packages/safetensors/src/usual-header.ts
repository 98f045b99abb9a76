/** What a header says of one tensor, whose name is `bytes[from, to)`; offsets are relative to the data. */
export interface FoundEntry {
  readonly from: number;
  readonly to: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const [quote, comma, colon, open, close, begin, end, zero, space] = [...'",:{}[]0 '].map((c) => c.charCodeAt(0));
const words = ['"dtype"', '"shape"', '"data_offsets"'].map((word) => Uint8Array.from(word, (c) => c.charCodeAt(0)));
const metadataName = '__metadata__';
/** A double holds every whole number of so many digits. */
const mostDigits = 15;
/** Characters of a name or a text that are made into a string at once: the arguments of a call are on the stack. */
const mostCharacters = 4096;

/** The fewest bytes of a tensor with its name: `"":{"dtype":"F4","shape":[],"data_offsets":[0,0]}`. */
export const fewestEntryBytes = 45;
/** Shapes and dtypes of late are compared byte by byte, before a text is made of them to look them up. */
const mostRecent = 8;

/** Anything that the general scanner has to look at. */
class Unusual extends Error {}

/**
 * Reads a header as every writer writes it, in one pass over its bytes: no text of it all is made, and equal shapes are one
 * array. A file may have hundreds of thousands of tensors.
 * @param found told of every tensor, in order
 * @returns the texts of `__metadata__`; nothing where something is unusual, and what was found does not count: escapes, characters
 *   beyond ASCII, other members or another order of them, numbers of more than 15 digits
 */
export function scanUsualHeader(
  bytes: Uint8Array,
  found: (entry: FoundEntry) => void,
): Map<string, string> | undefined {
  try {
    return new UsualScanner(bytes).whole(found);
  } catch (error) {
    if (error instanceof Unusual) return undefined;
    throw error;
  }
}

/** A value of the bytes `[from, to)`. */
interface Recent<T> {
  readonly from: number;
  readonly to: number;
  readonly value: T;
}

class UsualScanner {
  #at = 0;
  readonly #shapes = new Map<string, readonly number[]>();
  readonly #recentShapes: Recent<readonly number[]>[] = [];
  readonly #recentDtypes: Recent<string>[] = [];

  constructor(private readonly bytes: Uint8Array) {}

  whole(found: (entry: FoundEntry) => void): Map<string, string> {
    let metadata = new Map<string, string>();
    this.#take(open);
    do {
      const from = this.#textStart();
      const to = this.#textEnd();
      this.#take(colon);
      if (to - from === metadataName.length && this.#slice(from, to) === metadataName) {
        if (metadata.size > 0) throw new Unusual();
        metadata = this.#metadata();
      } else this.#entry(from, to, found);
    } while (this.#taken(comma));
    this.#take(close);
    // Writers fill up with spaces.
    this.#skip();
    if (this.#at < this.bytes.length) throw new Unusual();
    return metadata;
  }

  #entry(from: number, to: number, found: (entry: FoundEntry) => void): void {
    this.#take(open);
    this.#word(words[0]);
    const dtype = this.#dtype();
    this.#take(comma);
    this.#word(words[1]);
    const shape = this.#shape();
    this.#take(comma);
    this.#word(words[2]);
    this.#take(begin);
    const first = this.#number();
    this.#take(comma);
    const last = this.#number();
    this.#take(end);
    this.#take(close);
    found({ from, to, dtype, shape, begin: first, end: last });
  }

  #dtype(): string {
    const from = this.#textStart();
    const to = this.#textEnd();
    return (
      this.#recent(this.#recentDtypes, from, to) ?? this.#noted(this.#recentDtypes, from, to, this.#slice(from, to))
    );
  }

  #recent<T>(of: readonly Recent<T>[], from: number, to: number): T | undefined {
    next: for (const { from: start, to: stop, value } of of) {
      if (stop - start !== to - from) continue;
      for (let i = 0; i < to - from; i++) if (this.bytes[start + i] !== this.bytes[from + i]) continue next;
      return value;
    }
    return undefined;
  }

  #noted<T>(among: Recent<T>[], from: number, to: number, value: T): T {
    if (among.length === mostRecent) among.shift();
    among.push({ from, to, value });
    return value;
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
    const known = this.#recent(this.#recentShapes, from, to) ?? this.#shapes.get(this.#slice(from, to));
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
    this.#shapes.set(this.#slice(from, to), sizes);
    return this.#noted(this.#recentShapes, from, to, sizes);
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
    const from = this.#textStart();
    return this.#slice(from, this.#textEnd());
  }

  #textStart(): number {
    this.#take(quote);
    return this.#at;
  }

  /** Goes behind the quote that ends a text. @returns its place */
  #textEnd(): number {
    for (;;) {
      const byte = this.bytes[this.#at];
      if (byte === quote) return this.#at++;
      // The end of the bytes is not a number, and no comparison with it holds.
      if (!(byte >= 0x20 && byte < 0x7f) || byte === 0x5c) throw new Unusual();
      this.#at++;
    }
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
