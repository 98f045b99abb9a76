import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { SchemeError } from '../contracts/errors.js';
import type { OptionValues } from '../contracts/option.js';
import { declaredFits, fitOption } from '../fit/declared-fits.js';
import { minMax } from '../fit/min-max.js';
import { checkOptions, unknownOption } from './check-options.js';
import { boolean, choice, choiceOf, codeOnly, integer, list, number, text } from './option.js';

const parts = { fits: declaredFits };
const levels = { low: { level: 1 }, high: { level: 2 } };
const options = {
  rounds: integer({ min: 0, max: 100, default: 3, help: 'Rounds.' }),
  bits: integer({ min: 2, max: 8, or: [16], help: 'Bits.' }),
  share: number({ above: 0, below: 1, default: 0.5, help: 'A share.' }),
  alpha: number({ min: 0, max: 1, or: ['search'], help: 'Alpha.' }),
  order: boolean({ default: true, help: 'Order.' }),
  kind: choice(['a', 'b'], { default: 'a', help: 'Kind.' }),
  path: text({ help: 'A path.' }),
  widths: list(integer({ min: 1, help: 'A width.' }), { help: 'Widths.' }),
  level: choiceOf(levels, { default: levels.low, help: 'Level.' }),
  make: codeOnly<() => number>('a function', (value) => typeof value === 'function', { help: 'A function.' }),
  fit: fitOption('minMax'),
};

describe('checkOptions', () => {
  it('names what there is', () => {
    expect(unknownOption('x', [])).toBe('has no option "x". It has no options');
  });

  it('fills in defaults, and takes undefined for not given', () => {
    const settings = checkOptions('m', options, { rounds: undefined, kind: 'b' });
    expect(settings).toMatchObject({ rounds: 3, share: 0.5, order: true, kind: 'b', level: levels.low });
    expect(settings.bits).toBeUndefined();
    expectTypeOf(settings.rounds).toEqualTypeOf<number>();
    expectTypeOf(settings.bits).toEqualTypeOf<number | undefined>();
    expectTypeOf<OptionValues<typeof options>['kind']>().toEqualTypeOf<'a' | 'b' | undefined>();
  });

  it.each<[object, string]>([
    [{ rounds: -1 }, 'm: rounds must be a whole number from 0 to 100, got -1'],
    [{ rounds: 2.5 }, 'got 2.5'],
    [{ rounds: '3' }, 'got "3"'],
    [{ bits: 9 }, 'm: bits must be a whole number from 2 to 8, or 16, got 9'],
    [{ share: 1 }, 'm: share must be a number between 0 and 1, got 1'],
    [{ share: Number.NaN }, 'got NaN'],
    [{ alpha: 'find' }, 'm: alpha must be a number from 0 to 1, or search, got "find"'],
    [{ order: 'yes' }, 'm: order must be true or false, got "yes"'],
    [{ kind: 'c' }, 'm: kind must be one of a, b, got "c"'],
    [{ widths: [] }, 'm: widths must be a list, each entry a whole number of at least 1, got []'],
    [{ widths: [0] }, 'got [0]'],
    [{ fit: 'minMax' }, 'm: fit must be one of the fits, got "minMax"'],
    [{ make: 1 }, 'm: make must be a function, got 1'],
    [{ round: 1 }, 'm: has no option "round"; did you mean rounds? It has rounds, bits'],
  ])('refuses %j', (given, message) => {
    expect(() => checkOptions('m', options, given as never)).toThrow(SchemeError);
    expect(() => checkOptions('m', options, given as never)).toThrow(message);
  });

  it('refuses what is no object of options', () => {
    expect(() => checkOptions('m', options, 4 as never)).toThrow('m: an object of options was expected, got 4');
    expect(() => checkOptions('m', options, null as never)).toThrow('got null');
  });
});

describe('an option on the command line and in a recipe', () => {
  it('reads words as the values that a recipe holds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 }), (n) => {
        expect(options.rounds.resolve(options.rounds.parse(`${n}`), parts)).toBe(n);
      }),
    );
    expect(options.bits.resolve(options.bits.parse('16'), parts)).toBe(16);
    expect(options.alpha.resolve(options.alpha.parse('search'), parts)).toBe('search');
    expect(options.widths.resolve(options.widths.parse('2, 3,8'), parts)).toEqual([2, 3, 8]);
    expect(options.level.resolve('high', parts)).toBe(levels.high);
    for (const [option, word] of [
      [options.rounds, '1e2'],
      [options.rounds, ''],
      [options.share, ' '],
      [options.share, '0x1p3'],
      [options.kind, 'A'],
      [options.widths, '2,,3'],
      [options.level, 'toString'],
      [options.make, 'x'],
    ] as const)
      expect(option.resolve(option.parse(word), parts), word).toBeUndefined();
  });

  it('names a rule, or a rule with options of its own', () => {
    expect(options.fit.resolve('minMax', parts)?.name).toBe('minMax');
    expect(options.fit.resolve({ name: 'percentile', p: 0.9 }, parts)?.options).toEqual({ p: 0.9 });
    expect(options.fit.resolve('maxMin', parts)).toBeUndefined();
    expect(() => options.fit.resolve({ name: 'percentile', p: 2 }, parts)).toThrow(
      'percentile: p 2: a number above 0.5',
    );
    expect(() => options.fit.resolve({ name: 'percentile', q: 2 }, parts)).toThrow('has no option "q"');
    expect(options.fit.accepts(minMax())).toBe(true);
  });

  it('has a JSON Schema', () => {
    expect(options.rounds.schema(parts)).toEqual({ type: 'integer', minimum: 0, maximum: 100 });
    expect(options.alpha.schema(parts)).toEqual({
      anyOf: [{ type: 'number', minimum: 0, maximum: 1 }, { enum: ['search'] }],
    });
    expect(options.level.schema(parts)).toEqual({ enum: ['low', 'high'] });
  });
});

it('every declared fit makes a rule under its options', () => {
  for (const { name, summary, make } of declaredFits) {
    expect(typeof make({}).fit, name).toBe('function');
    expect(summary.length, name).toBeGreaterThan(5);
  }
});
