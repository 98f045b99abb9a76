import { FormatError } from '@q/core';

/** An object of JSON, and the original text of each member's value. */
export interface JsonObject {
  readonly values: Record<string, unknown>;
  readonly texts: ReadonlyMap<string, string>;
}

/** Texts with deeper nesting are refused before they exhaust the stack; no config is nested this deeply. */
const mostNested = 256;
const literals: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);
const numberText = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const wordText = /-?[A-Za-z]+/y;

/**
 * Reads an object as Python's `json` writes it: JSON, and the numbers `NaN`, `Infinity` and `-Infinity`.
 * @param name of the file, for messages
 * @throws FormatError naming the file and the position
 */
export function parseJsonObject(text: string, name: string): JsonObject {
  const reader = new Reader(text.startsWith('\uFEFF') ? text.slice(1) : text, name);
  return reader.whole();
}

/**
 * Reads a value as Python's `json` writes it: JSON, and the numbers `NaN`, `Infinity` and `-Infinity`.
 * @param name of the file, for messages
 * @throws FormatError naming the file and the place
 */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return new Reader(text.startsWith('\uFEFF') ? text.slice(1) : text, name).any();
  }
}

class Reader {
  #at = 0;
  #depth = 0;

  constructor(
    private readonly text: string,
    private readonly name: string,
  ) {}

  whole(): JsonObject {
    this.#space();
    const texts = new Map<string, string>();
    if (this.text[this.#at] !== '{') {
      this.#value();
      this.#end();
      throw new FormatError(`${this.name}: is not a JSON object`);
    }
    const values = this.#object((key, begin, end) => texts.set(key, this.text.slice(begin, end)));
    this.#end();
    return { values, texts };
  }

  any(): unknown {
    this.#space();
    const value = this.#value();
    this.#end();
    return value;
  }

  #end(): void {
    this.#space();
    if (this.#at < this.text.length) this.#fail('the end');
  }

  #value(): unknown {
    const first = this.text[this.#at];
    if (first === '{' || first === '[') {
      if (++this.#depth > mostNested)
        throw new FormatError(`${this.name}: is not valid JSON that can be read: nested deeper than ${mostNested}`);
      const value = first === '{' ? this.#object() : this.#array();
      this.#depth--;
      return value;
    }
    if (first === '"') return this.#string();
    numberText.lastIndex = this.#at;
    const number = numberText.exec(this.text);
    if (number) {
      this.#at = numberText.lastIndex;
      return Number(number[0]);
    }
    wordText.lastIndex = this.#at;
    const word = wordText.exec(this.text)?.[0] ?? '';
    if (!literals.has(word)) this.#fail('a value');
    this.#at += word.length;
    return literals.get(word);
  }

  #object(found?: (key: string, begin: number, end: number) => void): Record<string, unknown> {
    const members: [string, unknown][] = [];
    this.#at++;
    this.#space();
    if (this.#taken('}')) return {};
    do {
      this.#space();
      if (this.text[this.#at] !== '"') this.#fail('a key');
      const key = this.#string();
      this.#space();
      if (!this.#taken(':')) this.#fail("':'");
      this.#space();
      const begin = this.#at;
      members.push([key, this.#value()]);
      found?.(key, begin, this.#at);
      this.#space();
    } while (this.#taken(','));
    if (!this.#taken('}')) this.#fail("',' or '}'");
    // Defines members with any names, so no name can change a prototype.
    return Object.fromEntries(members);
  }

  #array(): unknown[] {
    const items: unknown[] = [];
    this.#at++;
    this.#space();
    if (this.#taken(']')) return items;
    do {
      this.#space();
      items.push(this.#value());
      this.#space();
    } while (this.#taken(','));
    if (!this.#taken(']')) this.#fail("',' or ']'");
    return items;
  }

  #string(): string {
    const begin = this.#at++;
    for (;;) {
      const end = this.text.indexOf('"', this.#at);
      if (end < 0) {
        this.#at = this.text.length;
        this.#fail("'\"'");
      }
      let slashes = 0;
      while (this.text[end - 1 - slashes] === '\\') slashes++;
      this.#at = end + 1;
      if (slashes % 2 === 1) continue;
      try {
        return JSON.parse(this.text.slice(begin, this.#at));
      } catch {
        this.#at = begin;
        return this.#fail('a string without control characters or unknown escapes');
      }
    }
  }

  #taken(mark: string): boolean {
    if (this.text[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (' \t\n\r'.includes(this.text[this.#at] ?? 'x')) this.#at++;
  }

  #fail(expected: string): never {
    const lines = this.text.slice(0, this.#at).split('\n');
    const found = this.#at < this.text.length ? JSON.stringify(this.text.slice(this.#at, this.#at + 12)) : 'the end';
    throw new FormatError(
      `${this.name}: is not valid JSON: line ${lines.length}, column ${lines[lines.length - 1].length + 1}: ${expected} was expected, found ${found}`,
    );
  }
}
