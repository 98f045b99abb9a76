import { describe, expect, it } from 'vitest';
import { parseRecipeText } from './recipe-text.js';
import { UsageError } from './usage-error.js';

describe('the text of a recipe', () => {
  it('is JSON or YAML by its name', () => {
    const value = { method: 'rtn', rules: [{ match: '*', bits: 3 }] };
    expect(parseRecipeText(JSON.stringify(value), 'a.json')).toEqual(value);
    expect(parseRecipeText('method: rtn\nrules:\n  - match: "*"\n    bits: 3\n', 'a.yaml')).toEqual(value);
    expect(parseRecipeText('# nothing\n', 'a.yaml')).toEqual({});
    expect(parseRecipeText('rules: [&r {match: a, bits: 3}, *r]\n', 'a.yaml')).toEqual({
      rules: [
        { match: 'a', bits: 3 },
        { match: 'a', bits: 3 },
      ],
    });
  });

  it.each([
    ['a.json', '{"method":', /a\.json: is not valid JSON/],
    ['a.yaml', 'method: [rtn', /a\.yaml: is not valid YAML: .* at line 1, column/],
    ['a.yaml', 'method: rtn\nbits: !!set 4\n', /Unresolved tag.* at line 2, column 7/],
    ['a.yaml', 'method: rtn\nrules: &r\n  - bits: *r\n', /\*r refers to itself at line 3, column 11/],
    ['a.yaml', 'method: rtn\n? [a]\n: 1\n', /a key must be a word, found a list or a map at line 2, column 3/],
  ])('%s %j is refused with its place', (path, text, message) => {
    expect(() => parseRecipeText(text, path)).toThrow(UsageError);
    expect(() => parseRecipeText(text, path)).toThrow(message);
  });

  it('is refused at once where keys are nested hundreds of times', () => {
    // As text, which objects have their keys in, these took 13 s.
    const text = `method: ${'{a: '.repeat(40)}${'{[[[[[[[[: 1, b: '.repeat(200)}`;
    const started = process.cpuUsage();
    expect(() => parseRecipeText(text, 'a.yaml')).toThrow(UsageError);
    expect(() => parseRecipeText(`${'{'.repeat(300)}a${'}'.repeat(300)}: 1`, 'a.yaml')).toThrow(/a key must be a word/);
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e6).toBeLessThan(2);
  });
});
