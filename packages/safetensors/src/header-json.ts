/**
 * A JSON scanner for safetensors headers. `JSON.parse` keeps the last of two equal keys, rounds integers above 2^53 and
 * accepts values that the format forbids (exponents in sizes). So this scanner reads the header: objects become Maps,
 * and integers stay text until they are checked.
 */
export type HeaderValue =
  | string
  | IntegerText
  | HeaderValue[]
  | Map<string, HeaderValue>
  | boolean
  | null
  | OtherNumber;

/** An unsigned integer, as written. */
export class IntegerText {
  constructor(readonly text: string) {}
}

/** Any other number (signed, fraction, exponent), as written. */
export class OtherNumber {
  constructor(readonly text: string) {}
}

/** The error and its character. */
export class HeaderSyntaxError extends Error {}

/** Characters that a string may not contain unescaped, or that must be decoded. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings.
const needsDecoding = /[\\\u0000-\u001f]/;

const maxDepth = 16;

export function parseHeaderJson(text: string): HeaderValue {
  const scanner = new Scanner(text);
  const value = scanner.value(0);
  scanner.space();
  if (scanner.at < text.length) scanner.fail('nothing more');
  return value;
}

class Scanner {
  at = 0;
  constructor(private readonly text: string) {}

  fail(expected: string): never {
    const found = this.at < this.text.length ? JSON.stringify(this.text[this.at]) : 'the end';
    throw new HeaderSyntaxError(`invalid JSON at character ${this.at}: found ${found}, expected ${expected}`);
  }

  space(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) return;
      this.at++;
    }
  }

  private take(character: string): void {
    if (this.text[this.at] !== character) this.fail(JSON.stringify(character));
    this.at++;
  }

  value(depth: number): HeaderValue {
    if (depth > maxDepth) throw new HeaderSyntaxError(`JSON nested deeper than ${maxDepth} levels`);
    this.space();
    switch (this.text[this.at]) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
      case 't':
        return this.word('true', true);
      case 'f':
        return this.word('false', false);
      case 'n':
        return this.word('null', null);
      default:
        return this.number();
    }
  }

  private object(depth: number): Map<string, HeaderValue> {
    const members = new Map<string, HeaderValue>();
    this.take('{');
    this.space();
    if (this.text[this.at] === '}') {
      this.at++;
      return members;
    }
    for (;;) {
      this.space();
      const key = this.string();
      if (members.has(key)) throw new HeaderSyntaxError(`key ${JSON.stringify(key)} appears twice`);
      this.space();
      this.take(':');
      members.set(key, this.value(depth + 1));
      this.space();
      if (this.text[this.at] === '}') break;
      this.take(',');
    }
    this.at++;
    return members;
  }

  private array(depth: number): HeaderValue[] {
    const items: HeaderValue[] = [];
    this.take('[');
    this.space();
    if (this.text[this.at] === ']') {
      this.at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      if (this.text[this.at] === ']') break;
      this.take(',');
    }
    this.at++;
    return items;
  }

  private string(): string {
    if (this.text[this.at] !== '"') this.fail('a string');
    const start = this.at++;
    const end = this.text.indexOf('"', this.at);
    const plain = this.text.slice(this.at, Math.max(end, this.at));
    if (end >= 0 && !needsDecoding.test(plain)) {
      this.at = end + 1;
      return plain;
    }
    while (this.text[this.at] !== '"') {
      if (this.at >= this.text.length) this.fail('the end of a string');
      this.at += this.text[this.at] === '\\' ? 2 : 1;
    }
    this.at++;
    try {
      return JSON.parse(this.text.slice(start, this.at));
    } catch {
      this.at = start;
      return this.fail('a valid string');
    }
  }

  private word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) this.fail('a value');
    this.at += word.length;
    return value;
  }

  private number(): IntegerText | OtherNumber {
    const match = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/.exec(this.text.slice(this.at, this.at + 64));
    if (!match) this.fail('a value');
    this.at += match[0].length;
    return /^[0-9]+$/.test(match[0]) ? new IntegerText(match[0]) : new OtherNumber(match[0]);
  }
}
