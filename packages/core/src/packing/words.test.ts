import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packWords32, unpackWords32 } from './words.js';

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ');

describe('packWords32', () => {
  it.each([
    // Golden words of the format notes, computed with independent code.
    { bits: 2, codes: 16, modulo: 4, words: 'e4e4e4e4' },
    { bits: 3, codes: 32, modulo: 8, words: '88fac688 c688fac6 fac688fa' },
    { bits: 4, codes: 8, modulo: 16, words: '76543210' },
    { bits: 5, codes: 32, modulo: 32, words: '8a418820 c5a92839 ca307b9a 38bdab49 ffbbcdeb' },
    { bits: 6, codes: 32, modulo: 64, words: '440c2040 a2481c61 3ce34c2c 544d2450 a6585d65 7de75c6d' },
    { bits: 8, codes: 4, modulo: 256, words: '03020100' },
  ])('$bits bits', ({ bits, codes, modulo, words }) => {
    const values = Uint8Array.from({ length: codes }, (_, i) => i % modulo);
    expect(hex(packWords32(values, bits))).toBe(words);
    expect(unpackWords32(packWords32(values, bits), bits, codes)).toEqual(values);
  });

  it('round trips any codes of 1 to 8 bits, as an arbitrary precision stream says', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(fc.nat(255), { maxLength: 100 }), (bits, raw) => {
        const codes = Uint8Array.from(raw, (code) => code % 2 ** bits);
        const words = packWords32(codes, bits);
        let stream = 0n;
        for (let i = codes.length - 1; i >= 0; i--) stream = (stream << BigInt(bits)) | BigInt(codes[i]);
        for (const [i, word] of words.entries()) expect(BigInt(word)).toBe((stream >> BigInt(32 * i)) & 0xffffffffn);
        expect(unpackWords32(words, bits, codes.length)).toEqual(codes);
      }),
    );
  });

  it('refuses widths that are not 1 to 8 and words that are too few', () => {
    expect(() => packWords32(new Uint8Array(1), 9)).toThrow('1 to 8 bits');
    expect(() => unpackWords32(new Uint32Array(1), 4, 9)).toThrow('need 2 words');
  });
});
