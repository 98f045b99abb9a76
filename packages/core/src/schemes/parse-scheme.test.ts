import { describe, expect, it } from 'vitest';
import { builtinFormats } from '../formats/builtin.js';
import { namedSchemes } from './named-schemes.js';
import { parseScheme } from './parse-scheme.js';
import { schemes } from './presets.js';
import { describeScheme } from './scheme.js';

describe('parseScheme', () => {
  it('reads every named scheme, and its description back to the same scheme', () => {
    for (const { name, scheme } of namedSchemes) {
      expect(parseScheme(name), name).toEqual(scheme);
      expect(JSON.stringify(parseScheme(describeScheme(scheme))), name).toBe(JSON.stringify(scheme));
      const json = JSON.stringify(scheme);
      expect(JSON.stringify(parseScheme(JSON.parse(json))), name).toBe(json);
    }
    for (const scheme of Object.values(schemes.activations))
      expect(JSON.stringify({ ...parseScheme(describeScheme(scheme)), dynamic: scheme.dynamic })).toBe(
        JSON.stringify(scheme),
      );
  });

  it('knows every number format', () => {
    for (const format of builtinFormats) expect(parseScheme(`${format.name} per tensor`).format).toBe(format);
  });

  it.each([
    ['int3 g64', 'int3 g64 sym, f16 scales'],
    ['uint4 g32', 'uint4 g32 asym, f16 scales'],
    ['uint4 g32 sym', 'uint4 g32 sym, f16 scales'],
    ['uint2 g16 asym float zero, f32 scales', 'uint2 g16 asym float zero, f32 scales'],
    ['e4m3 block 64x32', 'e4m3 block 64x32 sym, f32 scales'],
    ['e5m2 per row', 'e5m2 per channel sym, f32 scales'],
    ['nf4 flat 128', 'nf4 flat 128 sym, f32 scales'],
    ['e2m1 g32, e8m0 scales', 'e2m1 g32 sym, e8m0 scales'],
    ['ternary per tensor', 'ternary per tensor sym, f32 scales'],
    ['mxint8', 'mxint8 g32 sym, e8m0 scales'],
  ])('%s', (text, described) => {
    expect(describeScheme(parseScheme(text))).toBe(described);
  });

  it.each([
    ['nf5', /"nf5" is neither a scheme nor a number format; did you mean nf4\?/],
    ['int4 g', /"g" is not known\. After the format come a granularity/],
    ['int4 g0', /groupSize must be a whole number of at least 1/],
    ['nf4 asym', /nf4 is symmetric/],
    ['', /is neither a scheme/],
  ])('refuses %j', (text, message) => {
    expect(() => parseScheme(text)).toThrow(message);
  });

  it('lists every name once in a refusal, schemes first', () => {
    let message = '';
    try {
      parseScheme('int9');
    } catch (error) {
      message = (error as Error).message;
    }
    const [, schemesText, formatsText] = /Schemes: (.*)\. Other number formats, as in "int3 g64": (.*)$/.exec(
      message,
    ) as RegExpExecArray;
    const listed = [...schemesText.split(', '), ...formatsText.split(', ')];
    expect(schemesText.split(', ')).toEqual(namedSchemes.map(({ name }) => name));
    expect(new Set(listed).size).toBe(listed.length);
    expect(new Set(listed)).toEqual(new Set([...namedSchemes, ...builtinFormats].map(({ name }) => name)));
  });
});
