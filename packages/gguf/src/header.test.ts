import { FormatError } from '@q/core';
import { fromBytes } from '@q/safetensors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planGgufFile } from './file-plan.js';
import { readGgufHeader } from './header.js';
import type { GgufValue } from './metadata.js';
import { readGgufTensor } from './read-tensor.js';
import { ggufTensorTypeOf } from './tensor-type.js';
import { entry, f32, file, info, join, text, u8, u32, u64 } from './testing/gguf-bytes.js';

const read = (bytes: Uint8Array) => readGgufHeader(fromBytes(bytes, 'model.gguf'));

describe('readGgufHeader', () => {
  it('reads every type of metadata', async () => {
    const { metadata } = await read(
      file({
        version: 2,
        entries: [
          entry('a', 0, u8(200)),
          entry('b', 1, u8(0xfe)),
          entry('c', 2, Uint8Array.of(0x34, 0x12)),
          entry('d', 3, Uint8Array.of(0xff, 0xff)),
          entry('e', 4, u32(0xffffffff)),
          entry('f', 5, u32(0xffffffff)),
          entry('g', 6, f32(1.5)),
          entry('h', 7, u8(1)),
          entry('i', 8, text('ü')),
          entry('j', 9, join(u32(8), u64(2), text('x'), text(''))),
          entry('k', 10, u64(2n ** 63n)),
          entry('l', 11, u64(2n ** 64n - 5n)),
          entry('m', 12, u64(0x3ff8000000000000n)),
          entry('n', 9, join(u32(4), u64(0))),
        ],
      }),
    );
    expect(Object.fromEntries(metadata)).toEqual({
      a: { type: 'u8', value: 200 },
      b: { type: 'i8', value: -2 },
      c: { type: 'u16', value: 0x1234 },
      d: { type: 'i16', value: -1 },
      e: { type: 'u32', value: 0xffffffff },
      f: { type: 'i32', value: -1 },
      g: { type: 'f32', value: 1.5 },
      h: { type: 'bool', value: true },
      i: { type: 'string', value: 'ü' },
      j: { type: 'array', of: 'string', value: ['x', ''] },
      k: { type: 'u64', value: 2n ** 63n },
      l: { type: 'i64', value: -5n },
      m: { type: 'f64', value: 1.5 },
      n: { type: 'array', of: 'u32', value: [] },
    });
  });

  it('reads where tensors lie and what is in them', async () => {
    // Q4_0 of -16 to 15: golden words of docs/reference/file-formats.md#golden-words.
    const words = Buffer.from('0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8', 'hex');
    const bytes = file({
      entries: [entry('general.alignment', 4, u32(64))],
      infos: [info('a.weight', [32, 1], 2, 0), info('b', [2], 0, 64)],
      alignment: 64,
      data: join(words, new Uint8Array(46), f32(3), f32(-4)),
    });
    const { tensors, alignment, dataStart } = await read(bytes);
    expect(alignment).toBe(64);
    const [a, b] = [...tensors.values()];
    expect(a).toMatchObject({ name: 'a.weight', shape: [1, 32], begin: dataStart, end: dataStart + 18 });
    expect(a.type.name).toBe('Q4_0');
    expect([...(await readGgufTensor(fromBytes(bytes), a))]).toEqual(
      Array.from({ length: 32 }, (_, i) => 2 * Math.min(7, Math.round((i - 16) / 2))).map((x) => x || 0),
    );
    expect([...(await readGgufTensor(fromBytes(bytes), b))]).toEqual([3, -4]);
  });

  it('keeps strings that are no whole UTF-8 sequences as their bytes, and writes them back', async () => {
    const half = Uint8Array.of(0xf0, 0x9f);
    const tokens = join(u32(8), u64(2), u64(2), half, text('ok'));
    const bytes = file({ entries: [entry('tokens', 9, tokens), entry('one', 8, join(u64(2), half))] });
    const { metadata } = await read(bytes);
    expect(metadata.get('tokens')?.value).toEqual([half, 'ok']);
    expect(metadata.get('one')?.value).toEqual(half);
    expect(planGgufFile(metadata, []).header).toEqual(bytes);
  });

  it('reads a header of several megabytes', async () => {
    const tokens = Array.from({ length: 50_000 }, (_, i) => `token ${i} `.padEnd(70, '.'));
    const { metadata } = await read(
      file({ entries: [entry('tokens', 9, join(u32(8), u64(tokens.length), ...tokens.map(text)))] }),
    );
    expect(metadata.get('tokens')?.value).toEqual(tokens);
  });

  const one = (sizes: readonly (number | bigint)[], type = 0, offset: number | bigint = 0, data = 4096) =>
    file({ infos: [info('a', sizes, type, offset)], data: new Uint8Array(data) });
  const two = (first: Uint8Array, second: Uint8Array) => file({ infos: [first, second], data: new Uint8Array(4096) });

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(3), /has 3 bytes, a GGUF file has at least 24/],
    ['another kind of file', file({ magic: 'GGML' }), /does not begin with GGUF/],
    ['version 1', file({ version: 1 }), /version 1, 2 and 3 are read/],
    ['a big-endian file', file({ version: 0x03000000 }), /big-endian/],
    ['a lying count of tensors', file({ tensorCount: 2 ** 29 }), /says 536870912 tensors, but only/],
    ['an absurd count of entries', file({ entryCount: 2n ** 60n }), /at most 1073741824 are allowed/],
    ['an empty key', file({ entries: [entry('', 0, u8(0))] }), /entry 0: the key has 0 bytes/],
    ['a long key', file({ entries: [entry('k'.repeat(65536), 0, u8(0))] }), /the key has 65536 bytes/],
    [
      'a key twice',
      file({ entries: [entry('a', 0, u8(0)), entry('a', 0, u8(0))] }),
      /metadata "a": the key is there twice/,
    ],
    ['a bool of 2', file({ entries: [entry('a', 7, u8(2))] }), /metadata "a": a bool is byte 2/],
    ['an unknown type', file({ entries: [entry('a', 13, u8(2))] }), /metadata "a": it has type 13/],
    ['nested arrays', file({ entries: [entry('a', 9, join(u32(9), u64(0)))] }), /array of arrays/],
    ['a long array', file({ entries: [entry('a', 9, join(u32(0), u64(2n ** 31n)))] }), /says 2147483648 elements/],
    ['a text that ends early', file({ entries: [entry('a', 8, u64(1000))] }), /says 1000 bytes of text, but only/],
    ['a key that is no UTF-8', file({ entries: [join(u64(1), u8(0xff), u32(0), u8(0))] }), /not valid UTF-8/],
    ['an alignment of a gigabyte', file({ entries: [entry('general.alignment', 4, u32(2 ** 30))] }), /at most 65536/],
    ['an entry that ends early', file({ entryCount: 1, alignment: 1, entries: [text('abc')] }), /truncated/],
    [
      'a part of a split model',
      file({ entries: [entry('split.count', 2, Uint8Array.of(3, 0))] }),
      /one of 3 parts.*--merge/,
    ],
    [
      'an alignment of 3',
      file({ entries: [entry('general.alignment', 4, u32(3))] }),
      /it is 3 of type u32: a power of two/,
    ],
    [
      'an alignment of another type',
      file({ entries: [entry('general.alignment', 2, Uint8Array.of(32, 0))] }),
      /type u16/,
    ],
    ['five dimensions', one([1, 1, 1, 1, 1]), /tensor "a": it has 5 dimensions/],
    ['sizes without bound', one([2n ** 40n, 2n ** 40n]), /more than can be counted/],
    ['a size below zero', one([2n ** 64n - 1n, 0]), /more than can be counted/],
    ['a type that was given up', one([32], 4), /tensor "a": it has type 4/],
    ['half a block', one([48], 2), /rows of 48 values are not whole blocks of 32, which Q4_0 needs/],
    ['an offset that leaves a hole', one([8], 0, 32), /begins at byte 32 of the data, 0 was expected/],
    ['a long name', file({ infos: [info('n'.repeat(64), [8], 0, 0)] }), /the name has 64 bytes/],
    ['a name twice', two(info('a', [8], 0, 0), info('a', [8], 0, 32)), /tensor "a": the name is there twice/],
    [
      'an overlap',
      two(info('a', [9], 0, 0), info('b', [8], 0, 32)),
      /tensor "b": it begins at byte 32 of the data, 64/,
    ],
    ['data that end early', one([8], 0, 0, 31), /tensor "a": it ends at byte \d+, the file has \d+: it is truncated/],
  ])('refuses %s', async (_what, bytes, message) => {
    const error = await read(bytes).then(
      () => new Error('it was read'),
      (reason: Error) => reason,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^model\.gguf: /);
  });

  it('reads what planGgufFile lays out, and no file cut short', async () => {
    const value: fc.Arbitrary<GgufValue> = fc.oneof(
      fc.record({ type: fc.constant('i32' as const), value: fc.integer() }),
      fc.record({ type: fc.constant('f64' as const), value: fc.double({ noNaN: true }) }),
      fc.record({ type: fc.constant('u64' as const), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
      fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
      fc.record({ type: fc.constant('string' as const), value: fc.string({ unit: 'grapheme' }) }),
      fc.record({
        type: fc.constant('array' as const),
        of: fc.constant('string' as const),
        value: fc.array(fc.string()),
      }),
      fc.record({ type: fc.constant('array' as const), of: fc.constant('u8' as const), value: fc.array(fc.nat(255)) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.string({ minLength: 1 }), value),
        fc.array(fc.array(fc.nat(5), { maxLength: 4 }), { maxLength: 5 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        async (entries, shapes, share) => {
          const metadata = new Map(Object.entries(entries));
          const type = ggufTensorTypeOf(0) as NonNullable<ReturnType<typeof ggufTensorTypeOf>>;
          const plan = planGgufFile(
            metadata,
            shapes.map((shape, i) => ({ name: `t${i}`, type, shape })),
          );
          const whole = new Uint8Array(plan.byteLength);
          whole.set(plan.header);
          const header = await read(whole);
          expect(new Map(header.metadata)).toEqual(metadata);
          expect([...header.tensors.values()].map(({ shape }) => shape)).toEqual(shapes);
          for (const [name, { begin, end }] of plan.places)
            expect(header.tensors.get(name)).toMatchObject({ begin, end });
          const needed = Math.max(
            plan.header.length - 31,
            ...[...plan.places.values()].map(({ begin, end }) => (end > begin ? end : 0)),
          );
          const cut = Math.floor(share * Math.min(needed, plan.byteLength));
          await expect(read(whole.slice(0, cut))).rejects.toThrow(FormatError);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of a damaged file is read or refused, and nothing else', async () => {
    const whole = file({
      entries: [
        entry('general.alignment', 4, u32(32)),
        entry('texts', 9, join(u32(8), u64(2), text('abc'), text('d'))),
        entry('numbers', 9, join(u32(10), u64(1), u64(5))),
        entry('flag', 7, u8(1)),
      ],
      infos: [info('a.weight', [32, 2], 2, 0), info('b', [8], 0, 64)],
      data: new Uint8Array(96),
    });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        async (changes) => {
          const bytes = whole.slice();
          for (const [at, value] of changes) bytes[at] = value;
          await read(bytes).catch((error) => {
            expect(error).toBeInstanceOf(FormatError);
            refused++;
          });
        },
      ),
      { numRuns: 2000 },
    );
    expect(refused).toBeGreaterThan(500);
  });
});
