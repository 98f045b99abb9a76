import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createRandom } from '../random.js';
import { awqOrder } from './awq-order.js';
import { gptqPlanar } from './gptq-planar.js';
import { highNibbleFirst } from './high-nibble-first.js';
import { lsbFirst } from './lsb-first.js';
import { nibblePacking } from './nibbles.js';
import type { Packing } from './packing.js';
import { bitPlanes } from './planes.js';
import { trits } from './trits.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const words = (bytes: Uint8Array) =>
  [...new Uint32Array(bytes.slice().buffer)].map((word) => word.toString(16).padStart(8, '0')).join(' ');
const codes = (count: number, code: (i: number) => number) => Uint8Array.from({ length: count }, (_, i) => code(i));

const all: readonly Packing[] = [
  ...[1, 2, 3, 4, 5, 6, 7, 8].map(lsbFirst),
  highNibbleFirst,
  awqOrder,
  bitPlanes(4, 32),
  bitPlanes(4, 16),
  bitPlanes(2, 128),
  bitPlanes(2, 4),
  bitPlanes(1, 8),
  ...[3, 5, 6, 7].map(gptqPlanar),
  trits,
];

describe('golden words of the formats', () => {
  it.each([
    { bits: 2, count: 16, modulo: 4, golden: 'e4e4e4e4' },
    { bits: 3, count: 32, modulo: 8, golden: '88fac688 c688fac6 fac688fa' },
    { bits: 4, count: 8, modulo: 16, golden: '76543210' },
    { bits: 5, count: 32, modulo: 32, golden: '8a418820 c5a92839 ca307b9a 38bdab49 ffbbcdeb' },
    { bits: 6, count: 32, modulo: 64, golden: '440c2040 a2481c61 3ce34c2c 544d2450 a6585d65 7de75c6d' },
    { bits: 8, count: 4, modulo: 256, golden: '03020100' },
  ])('LSB-first, $bits bits', ({ bits, count, modulo, golden }) => {
    expect(words(lsbFirst(bits).pack(codes(count, (i) => i % modulo)))).toBe(golden);
  });

  it('AWQ: columns 0..7 hold codes 0..7', () => {
    expect(words(awqOrder.pack(codes(8, (i) => i)))).toBe('75316420');
  });

  it('compressed-tensors int4: -4..3, offset by 8', () => {
    expect(words(lsbFirst(4).pack(codes(8, (i) => i - 4 + 8)))).toBe('ba987654');
  });

  it('GPTQ zero points of symmetric 3-bit weights, version 1 and 2', () => {
    expect(words(lsbFirst(3).pack(codes(32, () => 3)))).toBe('db6db6db b6db6db6 6db6db6d');
    expect(words(lsbFirst(3).pack(codes(32, () => 4)))).toBe('24924924 49249249 92492492');
  });

  it('Q4_0: x = i - 16, d = 2, codes min(15, trunc(x/d + 8.5))', () => {
    const q = codes(32, (i) => Math.min(15, Math.trunc((i - 16) / 2 + 8.5)));
    expect(hex(bitPlanes(4, 32).pack(q))).toBe('809191a2a2b3b3c4c4d5d5e6e6f7f7f8');
  });

  it('Q4_1: the same values, d = 31/15, m = -16', () => {
    const q = codes(32, (i) => Math.min(15, Math.trunc(i / (31 / 15) + 0.5)));
    expect(hex(bitPlanes(4, 32).pack(q))).toBe('80809191a2a2b3b3c4c4d5d5e6e6f7f7');
  });

  it('TQ1_0 and TQ2_0: t = (i mod 3) - 1', () => {
    const t = codes(256, (i) => i % 3);
    expect(hex(trits.pack(t))).toBe('456ccf'.repeat(10) + '45' + '6c' + '94bb31'.repeat(5) + '94' + '3092bb30');
    expect(hex(bitPlanes(2, 128).pack(t))).toBe('186186'.repeat(21) + '18');
  });

  it('bitsandbytes: the first code in the high nibble, an odd last one padded', () => {
    expect(hex(highNibbleFirst.pack(codes(5, (i) => i + 1)))).toBe('123450');
  });
});

describe.each(all.map((packing) => [packing.name, packing] as const))('%s', (_name, packing) => {
  const largest = packing === trits ? 2 : 2 ** packing.bits - 1;

  it('round trips any codes, aligned or not', () => {
    fc.assert(
      fc.property(fc.nat(70), fc.nat(3), fc.nat(1e6), (multiples, offset, seed) => {
        const random = createRandom(seed);
        const count = multiples * packing.multiple;
        const raw = codes(count, () => random.integer(largest + 1));
        const shifted = new Uint8Array(count + offset).subarray(offset);
        shifted.set(raw);
        const packed = packing.pack(shifted);
        expect(packed.length).toBe(packing.bytes(count));
        expect(hex(packed)).toBe(hex(packing.pack(raw)));
        const unaligned = new Uint8Array(packed.length + offset).subarray(offset);
        unaligned.set(packed);
        expect(hex(packing.unpack(unaligned, count))).toBe(hex(raw));
        expect(hex(packing.unpack(packed, count, new Uint8Array(count + offset).subarray(offset)))).toBe(hex(raw));
      }),
      { numRuns: 40 },
    );
  });

  it('refuses what does not fit', () => {
    expect(() => packing.unpack(new Uint8Array(0), packing.multiple)).toThrow('got 0');
    expect(() => packing.pack(new Uint8Array(packing.multiple), new Uint8Array(0))).toThrow('out has 0');
    if (packing.multiple > 1) expect(() => packing.pack(new Uint8Array(packing.multiple + 1))).toThrow('multiples of');
  });
});

describe('orders, from their definitions', () => {
  const random = createRandom(5);

  it.each([
    { packing: lsbFirst(4), order: [0, 1] },
    { packing: highNibbleFirst, order: [1, 0] },
    { packing: awqOrder, order: [0, 2, 4, 6, 1, 3, 5, 7] },
    { packing: bitPlanes(4, 16), order: [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15] },
  ])(
    '$packing.name: nibble k of every $order.length holds code order[k], over many chunks of the vector loop',
    ({ packing, order }) => {
      for (const count of [240, 256, 272, 4080, 4096, 4112, 8192, 20_016]) {
        const raw = codes(count, () => random.integer(16));
        const packed = packing.pack(raw);
        const expected = codes(count / 2, (byte) => {
          const [low, high] = [2 * byte, 2 * byte + 1].map(
            (n) => raw[n - (n % order.length) + order[n % order.length]],
          );
          return low + 16 * high;
        });
        expect(packed).toEqual(expected);
        expect(packing.unpack(packed, count)).toEqual(raw);
      }
    },
  );

  it('LSB-first is the binary number that the codes write from the right', () => {
    for (let bits = 1; bits <= 8; bits++) {
      for (const count of [0, 1, 7, 8, 31, 32, 33, 100]) {
        const raw = codes(count, () => random.integer(2 ** bits));
        let stream = 0n;
        for (let i = count - 1; i >= 0; i--) stream = (stream << BigInt(bits)) | BigInt(raw[i]);
        const packed = lsbFirst(bits).pack(raw);
        for (const [i, byte] of packed.entries()) expect(BigInt(byte)).toBe((stream >> BigInt(8 * i)) & 0xffn);
      }
    }
  });

  it('Hugging Face bitnet: row r in byte row r mod (out/4), at bits 2 floor(r / (out/4))', () => {
    const [out, inside] = [8, 5];
    const raw = codes(out * inside, () => random.integer(3));
    const packed = bitPlanes(2, out * inside).pack(raw);
    for (let r = 0; r < out; r++) {
      for (let c = 0; c < inside; c++) {
        const byte = packed[(r % (out / 4)) * inside + c];
        expect((byte >> (2 * Math.floor(r / (out / 4)))) & 3).toBe(raw[r * inside + c]);
      }
    }
  });

  it('NVFP4 of GGUF: sub-block s, byte 8s+j holds element 16s+j low and 16s+j+8 high', () => {
    const raw = codes(64, () => random.integer(16));
    const packed = bitPlanes(4, 16).pack(raw);
    for (let s = 0; s < 4; s++) {
      for (let j = 0; j < 8; j++) expect(packed[8 * s + j]).toBe(raw[16 * s + j] | (raw[16 * s + j + 8] << 4));
    }
  });

  it('gptq_p: the low plane fills the first words, each plane an LSB-first stream', () => {
    for (const [bits, planes] of [
      [3, [2, 1]],
      [5, [4, 1]],
      [6, [4, 2]],
      [7, [4, 2, 1]],
    ] as const) {
      const raw = codes(32, () => random.integer(2 ** bits));
      let [expected, shift] = ['', 0];
      for (const width of planes) {
        expected += hex(lsbFirst(width).pack(codes(32, (i) => (raw[i] >> shift) & (2 ** width - 1))));
        shift += width;
      }
      expect(hex(gptqPlanar(bits).pack(raw))).toBe(expected);
    }
  });

  it('trits decode by multiplication in bytes, and take 1.625 bits', () => {
    const raw = codes(256, () => random.integer(3));
    const packed = trits.pack(raw);
    expect((8 * packed.length) / 256).toBe(1.625);
    // The last run: qh[j] holds trits of elements 240 + j + 4n, the first one the most significant.
    for (let j = 0; j < 4; j++) {
      for (let n = 0; n < 4; n++) {
        expect((((packed[48 + j] * 3 ** n) % 256) * 3) >> 8).toBe(raw[240 + j + 4 * n]);
      }
    }
  });

  it('widths and chunks that make no sense are refused', () => {
    expect(() => lsbFirst(9)).toThrow('1 to 8 bits');
    expect(() => gptqPlanar(4)).toThrow('not for 4');
    expect(() => bitPlanes(4, 3)).toThrow('equal parts');
  });
});

describe('nibbles where WebAssembly is not to be had', () => {
  afterEach(() => vi.unstubAllGlobals());
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  const raw = codes(4104, (i) => (7 * i + (i >> 5)) % 16);

  it.each([
    ['there is none', undefined],
    [
      'a page forbids it',
      {
        validate: () => true,
        CompileError: WebAssembly.CompileError,
        Module: class {
          constructor() {
            throw new WebAssembly.CompileError('refused by the policy');
          }
        },
      },
    ],
  ])('%s: the plain loop gives the same bytes', (_, replacement) => {
    vi.stubGlobal('WebAssembly', replacement);
    const plain = nibblePacking({ name: 'plain', order, multiple: 8 });
    const packed = plain.pack(raw);
    vi.unstubAllGlobals();
    expect(hex(packed)).toBe(hex(awqOrder.pack(raw)));
    vi.stubGlobal('WebAssembly', replacement);
    expect(hex(plain.unpack(packed, raw.length))).toBe(hex(raw));
  });
});
