import type { GgufText } from './cursor.js';

/** A growing array of bytes: little-endian fields one after the other. */
export class ByteSink {
  #bytes = new Uint8Array(4096);
  length = 0;

  /** A view of `bytes` new bytes. Fill it immediately: later calls may move them. */
  view(bytes: number): DataView {
    const at = this.length;
    this.#grow(bytes);
    return new DataView(this.#bytes.buffer, at, bytes);
  }

  put(bytes: Uint8Array): this {
    const at = this.length;
    this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  u32(value: number): this {
    this.view(4).setUint32(0, value, true);
    return this;
  }

  u64(value: number): this {
    this.view(8).setBigUint64(0, BigInt(value), true);
    return this;
  }

  string(value: GgufText): this {
    const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    return this.u64(bytes.length).put(bytes);
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  #grow(bytes: number): void {
    this.length += bytes;
    if (this.length <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * this.length);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
