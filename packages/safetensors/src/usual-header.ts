/** The entry of one tensor, whose name is `bytes[from, to)`; offsets are relative to the data. */
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
/** A double holds every integer with this many digits. */
const mostDigits = 15;
/** Number of characters of a text that are turned into a string at a time: the arguments of a call are on the stack. */
const mostCharacters = 4096;

/** The smallest number of bytes of a tensor with its name: `"":{"dtype":"F4","shape":[],"data_offsets":[0,0]}`. */
export const fewestEntryBytes = 45;
/** The latest shapes and dtypes are compared byte by byte, so no text has to be made to look them up. */
const mostRecent = 8;

/** Thrown for a header that needs the general scanner. */
class Unusual extends Error {}

/**
 * Reads a header of the form that all common writers use, in one pass over its bytes. It makes no text of the whole
 * header, and equal shapes are one array, since a file may have hundreds of thousands of tensors.
 * @param found called for every tensor, in order
 * @returns the texts of `__metadata__`; undefined for anything unusual: escapes, characters outside ASCII, other
 *   members or another order of them, numbers of more than 15 digits. The calls of `found` are then invalid.
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

/** The value of the bytes `[from, to)`. */
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
    // Writers pad with spaces.
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

  /** A text in quotes, of printable ASCII without escapes. */
  #text(): string {
    const from = this.#textStart();
    return this.#slice(from, this.#textEnd());
  }

  #textStart(): number {
    this.#take(quote);
    return this.#at;
  }

  /**
   * Moves after the quote that ends a text.
   * @returns the index of that quote
   */
  #textEnd(): number {
    for (;;) {
      const byte = this.bytes[this.#at];
      if (byte === quote) return this.#at++;
      // At the end of the bytes the value is undefined, and every comparison with it is false.
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
