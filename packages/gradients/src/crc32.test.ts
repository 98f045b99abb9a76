import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { crc32 } from './crc32.js';

it('has the check value of CRC-32, in one piece and in two', () => {
  const bytes = new TextEncoder().encode('123456789');
  expect(crc32(bytes)).toBe(0xcbf43926);
  expect(crc32(bytes.subarray(4), crc32(bytes.subarray(0, 4)))).toBe(0xcbf43926);
});

it('is that of gzip for bytes of every length', () => {
  const bytes = Uint8Array.from({ length: 70 }, (_, i) => (i * 151 + 7) % 256);
  for (let length = 0; length <= bytes.length; length++) {
    const zipped = gzipSync(bytes.subarray(0, length));
    // A file of gzip ends with the checksum and the length.
    expect(crc32(bytes.subarray(0, length))).toBe(zipped.readUInt32LE(zipped.length - 8));
  }
});
