import { FormatError } from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromBytes } from './byte-source.js';
import { readHeader } from './header.js';

/** A file of a header text and data of a given length. */
function file(header: string, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(header);
  const out = new Uint8Array(8 + json.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  return out;
}

const entry = (fields: string) => `{"a":{${fields}}}`;
const good = '"dtype":"F32","shape":[2],"data_offsets":[0,8]';

describe('readHeader', () => {
  it('reads names, shapes and places', async () => {
    const header =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[3,1],"data_offsets":[8,14]}}';
    const { tensors, metadata, dataStart } = await readHeader(fromBytes(file(header, 14)));
    expect(metadata.get('format')).toBe('pt');
    expect(tensors.get('a')).toEqual({
      name: 'a',
      dtype: 'BF16',
      shape: [3, 1],
      begin: dataStart + 8,
      end: dataStart + 14,
    });
    expect(tensors.get('b')?.shape).toEqual([]);
  });

  it('reads an F4 tensor: golden header of the format notes', async () => {
    const text = '{"attn.0":{"dtype":"F4","shape":[1,2],"data_offsets":[0,1]}}    ';
    expect(text.length).toBe(64);
    expect((await readHeader(fromBytes(file(text, 1)))).tensors.get('attn.0')?.shape).toEqual([1, 2]);
  });

  it.each([
    ['an empty model', file('{}')],
    ['white space on both sides', file(' \n{} \t')],
    ['a zero-size tensor', file(entry('"dtype":"F32","shape":[0,4],"data_offsets":[0,0]'))],
    ['unknown fields of an entry', file(entry(`${good},"extra":{"x":[1,-2.5e3,null,true]}`), 8)],
    [
      'names of object members',
      file(
        '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        2,
      ),
    ],
  ])('accepts %s', async (_what, bytes) => {
    await expect(readHeader(fromBytes(bytes))).resolves.toBeDefined();
  });

  it('reads the same of a header as writers write it and of one that only the general way reads', async () => {
    const name = fc.string({ unit: 'grapheme-ascii', maxLength: 12 }).filter((text) => !text.includes(':'));
    const tensors = fc.uniqueArray(
      fc.tuple(name, fc.constantFrom('F32', 'BF16', 'U8'), fc.array(fc.nat(3), { maxLength: 3 })),
      {
        selector: ([each]) => each,
        maxLength: 5,
      },
    );
    await fc.assert(
      fc.asyncProperty(tensors, fc.boolean(), async (all, spaced) => {
        const bytesOf = { F32: 4, BF16: 2, U8: 1 } as Record<string, number>;
        let at = 0;
        const entries = all.map(([each, dtype, shape]) => {
          const from = at;
          at += (bytesOf[dtype] as number) * shape.reduce((product, size) => product * size, 1);
          return [each, { dtype, shape, data_offsets: [from, at] }] as const;
        });
        const usual = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) });
        // White space that no writer has.
        const odd = usual.replace(/^\{/, '{\n');
        const text = spaced ? usual.replace(/":/g, '": ') : usual;
        const [one, other] = await Promise.all([text, odd].map((each) => readHeader(fromBytes(file(each, at)))));
        const placed = ({ tensors: found, dataStart }: typeof one) =>
          [...found.values()].map((entry) => ({
            ...entry,
            begin: entry.begin - dataStart,
            end: entry.end - dataStart,
          }));
        expect(placed(one)).toEqual(placed(other));
        expect([...one.metadata]).toEqual([...other.metadata]);
      }),
    );
  });

  const huge = new Uint8Array(16);
  new DataView(huge.buffer).setBigUint64(0, 1n << 60n, true);
  const badUtf8 = file('{"a":1}');
  badUtf8[10] = 0xff;
  it.each<[string, Uint8Array, RegExp]>([
    ['a file of 5 bytes', new Uint8Array(5), /has 5 bytes, .* at least 8/],
    ['a header length beyond the limit', huge, /header has 1152921504606846976 bytes, at most 100000000/],
    ['a truncated header', file('{}').slice(0, 9), /header has 2 bytes, but only 1 follow/],
    ['invalid UTF-8', badUtf8, /not valid UTF-8/],
    ['a header that is an array', file('[]'), /must begin with '\{', found "\["/],
    ['broken JSON', file('{"a":}'), /invalid JSON at character 5/],
    ['JSON that goes on', file('{}{}'), /expected nothing more/],
    ['a tensor twice', file(`{"a":{${good}},"a":{${good}}}`, 8), /key "a" appears twice/],
    ['a field twice', file(entry(`${good},"dtype":"F32"`), 8), /key "dtype" appears twice/],
    ['a missing dtype', file(entry('"shape":[2],"data_offsets":[0,8]'), 8), /tensor "a": dtype must be a string/],
    [
      'an unknown dtype',
      file(entry('"dtype":"F7","shape":[2],"data_offsets":[0,8]'), 8),
      /unknown dtype "F7"; known are F4/,
    ],
    [
      'a shape that is no array',
      file(entry('"dtype":"F32","shape":2,"data_offsets":[0,8]'), 8),
      /shape must be an array/,
    ],
    ['a negative size', file(entry('"dtype":"F32","shape":[-2],"data_offsets":[0,8]'), 8), /shape holds -2/],
    ['a fraction', file(entry('"dtype":"F32","shape":[2.0],"data_offsets":[0,8]'), 8), /shape holds 2.0/],
    ['an exponent', file(entry('"dtype":"F32","shape":[2e0],"data_offsets":[0,8]'), 8), /shape holds 2e0/],
    [
      'a size above 2^53',
      file(entry('"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]'), 8),
      /larger than 2\^53/,
    ],
    [
      'three offsets',
      file(entry('"dtype":"F32","shape":[2],"data_offsets":[0,8,8]'), 8),
      /must be two numbers, found 3/,
    ],
    [
      'a product that overflows',
      file(entry('"dtype":"F32","shape":[4503599627370496,4503599627370496],"data_offsets":[0,0]')),
      /needs 81129638414606681695789005144064 bytes/,
    ],
    [
      'bits that are no bytes',
      file(entry('"dtype":"F4","shape":[3],"data_offsets":[0,1]'), 1),
      /12 bits are not a whole number of bytes/,
    ],
    [
      'an end before the begin',
      file(entry('"dtype":"F32","shape":[2],"data_offsets":[8,0]'), 8),
      /ends at byte 0, before it begins at 8/,
    ],
    [
      'offsets that do not fit the shape',
      file(entry('"dtype":"F32","shape":[3],"data_offsets":[0,8]'), 8),
      /needs 12 bytes, data_offsets \[0, 8\] hold 8/,
    ],
    [
      'an overlap',
      file(`{"a":{${good}},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
      /"b": begins at byte 4 .* overlaps/,
    ],
    [
      'a hole',
      file(`{"a":{${good}},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20),
      /"b": .* leaves a hole/,
    ],
    ['truncated data', file(entry(good), 7), /file has 15|truncated/],
    ['a tail', file(entry(good), 9), /1 unexplained bytes follow/],
    [
      'metadata that is no object of strings',
      file('{"__metadata__":{"a":1}}'),
      /__metadata__ entry "a" must be a string/,
    ],
    ['deep nesting', file(`{"a":${'['.repeat(40)}${']'.repeat(40)}}`), /nested deeper/],
  ])('rejects %s', async (_what, bytes, message) => {
    const result = readHeader(fromBytes(bytes, 'x.safetensors'));
    await expect(result).rejects.toThrow(FormatError);
    await expect(result).rejects.toThrow(message);
    await expect(result).rejects.toThrow(/^x\.safetensors: /);
  });

  it('meets any damage with a FormatError or a valid reading, never with another error', () => {
    const original = file(
      `{"__metadata__":{"k":"v"},"a":{${good}},"b":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}}`,
      12,
    );
    return fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(original.length),
        async (edits, length) => {
          const bytes = original.slice(0, edits[0][1] % 3 === 0 ? length : undefined);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          await readHeader(fromBytes(bytes)).catch((error) => expect(error).toBeInstanceOf(FormatError));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
