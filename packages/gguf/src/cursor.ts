import { FormatError } from '@q/core';

/** A string of a file; its bytes when they are not valid UTF-8. */
export type GgufText = string | Uint8Array;

/** The bytes read so far end before the header does; the file may be longer. */
export class EndOfStretch extends Error {}

/** The largest string or array that ggml's reader accepts. */
const mostElements = 2 ** 30;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads little-endian fields one after the other from the first bytes of a file. */
export class Cursor {
  position = 0;
  /** The part that is being read, for messages. */
  place = 'the header';
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param fileBytes length of the whole file; `bytes` are its first bytes */
  constructor(
    readonly name: string,
    bytes: Uint8Array,
    readonly fileBytes: number,
  ) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(message: string): never {
    throw new FormatError(`${this.name}: ${this.place}: ${message}`);
  }

  /** A view of the next `bytes` bytes; moves after them. */
  view(bytes: number): DataView {
    const at = this.#take(bytes);
    return new DataView(this.#view.buffer, this.#view.byteOffset + at, bytes);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** A count of items of at least `least` bytes each. */
  count(least: number, what: string): number {
    const count = this.u64();
    if (count > BigInt(mostElements)) this.fail(`it says ${count} ${what}, at most ${mostElements} are allowed`);
    const left = this.fileBytes - this.position;
    if (Number(count) * least > left)
      this.fail(`it says ${count} ${what}, but only ${left} bytes follow: the file is truncated`);
    return Number(count);
  }

  string(): string {
    const text = this.text();
    return typeof text === 'string' ? text : this.fail('a string is not valid UTF-8');
  }

  /** A string; its bytes when they are not valid UTF-8, as tokens of a vocabulary may be. */
  text(): GgufText {
    const length = this.count(1, 'bytes of text');
    const at = this.#take(length);
    const bytes = this.#bytes.subarray(at, at + length);
    try {
      return utf8.decode(bytes);
    } catch {
      return bytes.slice();
    }
  }

  #take(bytes: number): number {
    const at = this.position;
    if (at + bytes > this.#bytes.length) {
      if (at + bytes <= this.fileBytes) throw new EndOfStretch();
      this.fail(`the file ends at byte ${this.fileBytes}, within it: it is truncated`);
    }
    this.position = at + bytes;
    return at;
  }
}
