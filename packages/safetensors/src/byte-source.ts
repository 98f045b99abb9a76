import { FormatError } from '@q/core';

/** A source of bytes that can be read by range: a file, memory, a URL. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly byteLength: number;
  /**
   * Bytes `[start, end)`. Rejects when the source is shorter.
   * @param out receives the bytes if it is large enough and the source supports it; the result is then a view of it
   */
  slice(start: number, end: number, out?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Bytes in memory. */
export function fromBytes(bytes: Uint8Array, name = 'memory'): ByteSource {
  return {
    name,
    byteLength: bytes.byteLength,
    slice: async (start, end) => bytes.subarray(start, end),
    close: async () => {},
  };
}

export interface UrlOptions {
  /** The platform's `fetch` when absent. */
  readonly fetch?: typeof fetch;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A URL, read with range requests. Throws FormatError when the server ignores ranges. */
export async function fromUrl(url: string, options: UrlOptions = {}): Promise<ByteSource> {
  const request = options.fetch ?? fetch;
  const head = await request(url, { method: 'HEAD', headers: options.headers });
  const length = Number(head.headers.get('content-length'));
  if (!head.ok || !Number.isSafeInteger(length) || length <= 0) {
    throw new FormatError(
      `${url}: answered ${head.status} without a usable content-length; a size is needed to read by range`,
    );
  }
  return {
    name: url,
    byteLength: length,
    async slice(start, end) {
      if (start === end) return new Uint8Array(0);
      const response = await request(url, { headers: { ...options.headers, range: `bytes=${start}-${end - 1}` } });
      if (response.status !== 206) {
        throw new FormatError(
          `${url}: answered ${response.status} to a range request, 206 was expected: download the file first`,
        );
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length !== end - start) {
        throw new FormatError(
          `${url}: sent ${bytes.length} bytes for range ${start}-${end - 1}, ${end - start} were expected`,
        );
      }
      return bytes;
    },
    close: async () => {},
  };
}
