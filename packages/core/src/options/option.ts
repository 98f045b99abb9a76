import { SchemeError } from '../contracts/errors.js';
import type { Declaration, JsonSchema, NamedParts, Option } from '../contracts/option.js';

interface Described<T> {
  /** One plain sentence. */
  readonly help: string;
  readonly default?: T;
  /** Describes the value that is used when none is given, if `default` cannot express it. */
  readonly otherwise?: string;
  /** The placeholder of the value in help. */
  readonly placeholder?: string;
}

type WithDefault<T> = Option<T> & { readonly default: T };

interface Kind<T> {
  readonly type: Option['type'];
  readonly expected: string;
  readonly placeholder: string;
  accepts(value: unknown): value is T;
  parse(text: string): unknown;
  readonly schema: JsonSchema;
  readonly names?: readonly string[];
}

/** An option whose value in a recipe is the same as in code. */
function plain<T>(kind: Kind<T>, described: Described<T>): any {
  const { names, schema, accepts } = kind;
  return {
    ...{ named: true, show: (value: T) => `${value}` },
    ...kind,
    ...described,
    ...(names ? { names: () => names } : {}),
    schema: () => schema,
    resolve: (value: unknown) => (accepts(value) ? value : undefined),
  };
}

interface NumberRange<V> {
  /** Smallest allowed value. */
  readonly min?: number;
  /** Largest allowed value. */
  readonly max?: number;
  /** Values that are allowed beyond the range: `['search']`, `[16]`. */
  readonly or?: readonly V[];
}

interface OpenRange<V> extends NumberRange<V> {
  /** Values must be larger than this. */
  readonly above?: number;
  /** Values must be smaller than this. */
  readonly below?: number;
}

function orWords(or: readonly unknown[] = []): string {
  return or.map((value) => `, or ${value}`).join('');
}

/** A whole number. */
export function integer<const V extends string | number = never>(
  described: Described<number | V> & NumberRange<V> & { readonly default: number | V },
): WithDefault<number | V>;
export function integer<const V extends string | number = never>(
  described: Described<number | V> & NumberRange<V>,
): Option<number | V>;
export function integer({ min, max, or, ...described }: Described<any> & NumberRange<any>): any {
  const range = max === undefined ? (min === undefined ? '' : ` of at least ${min}`) : ` from ${min} to ${max}`;
  return plain(
    {
      type: 'integer',
      placeholder: 'n',
      expected: `a whole number${range}${orWords(or)}`,
      accepts: (value): value is number =>
        or?.includes(value as never) ||
        (Number.isSafeInteger(value) &&
          (value as number) >= (min ?? -Infinity) &&
          (value as number) <= (max ?? Infinity)),
      parse: (text) => (/^-?[0-9]+$/.test(text.trim()) ? Number(text) : text),
      schema: withOr({ type: 'integer', minimum: min, maximum: max }, or),
    },
    described,
  );
}

/** Any finite number. */
export function number<const V extends string | number = never>(
  described: Described<number | V> & OpenRange<V> & { readonly default: number | V },
): WithDefault<number | V>;
export function number<const V extends string | number = never>(
  described: Described<number | V> & OpenRange<V>,
): Option<number | V>;
export function number({ min, max, above, below, or, ...described }: Described<any> & OpenRange<any>): any {
  return plain(
    {
      type: 'number',
      placeholder: 'x',
      expected: `a number${numberRange({ min, max, above, below })}${orWords(or)}`,
      accepts: (value): value is number =>
        or?.includes(value as never) ||
        (typeof value === 'number' &&
          Number.isFinite(value) &&
          value >= (min ?? -Infinity) &&
          value <= (max ?? Infinity) &&
          value > (above ?? -Infinity) &&
          value < (below ?? Infinity)),
      parse: (text) => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text),
      schema: withOr(
        { type: 'number', minimum: min, maximum: max, exclusiveMinimum: above, exclusiveMaximum: below },
        or,
      ),
    },
    described,
  );
}

function numberRange({ min, max, above, below }: Omit<OpenRange<never>, 'or'>): string {
  if (above !== undefined && below !== undefined) return ` between ${above} and ${below}`;
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  const low = above === undefined ? (min === undefined ? '' : ` of at least ${min}`) : ` above ${above}`;
  const high = below === undefined ? (max === undefined ? '' : ` of at most ${max}`) : ` below ${below}`;
  return [low, high].filter(Boolean).join(' and');
}

function withOr(schema: JsonSchema, or: readonly unknown[] = []): JsonSchema {
  const defined = Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
  return or.length === 0 ? defined : { anyOf: [defined, { enum: or }] };
}

/** True or false; `--name` and `--no-name` on the command line. */
export function boolean(described: Described<boolean> & { readonly default: boolean }): WithDefault<boolean>;
export function boolean(described: Described<boolean>): Option<boolean>;
export function boolean(described: Described<boolean>): any {
  return plain(
    {
      type: 'boolean',
      placeholder: '',
      expected: 'true or false',
      accepts: (value): value is boolean => typeof value === 'boolean',
      parse: (text) => (text === 'true' ? true : text === 'false' ? false : text),
      schema: { type: 'boolean' },
    },
    described,
  );
}

/** One of a few words. */
export function choice<const V extends string>(
  values: readonly V[],
  described: Described<V> & { readonly default: NoInfer<V> },
): WithDefault<V>;
export function choice<const V extends string>(values: readonly V[], described: Described<V>): Option<V>;
export function choice(values: readonly string[], described: Described<string>): any {
  return plain(
    {
      type: 'choice',
      placeholder: 'name',
      expected: `one of ${values.join(', ')}`,
      accepts: (value): value is string => values.includes(value as string),
      parse: (word) => word,
      schema: { enum: values },
      names: values,
    },
    described,
  );
}

/** Any text that is not empty: a path, a pattern. */
export function text(described: Described<string> & { readonly default: string }): WithDefault<string>;
export function text(described: Described<string>): Option<string>;
export function text(described: Described<string>): any {
  return plain(
    {
      type: 'text',
      placeholder: 'text',
      expected: 'a text that is not empty',
      accepts: (value): value is string => typeof value === 'string' && value.trim() !== '',
      parse: (word) => word,
      schema: { type: 'string', minLength: 1 },
    },
    described,
  );
}

/** One or more values of another option: `2,3,4` on the command line, an array in a recipe. */
export function list<T>(
  of: Option<T>,
  described: Described<readonly T[]> & { readonly default: readonly T[] },
): WithDefault<readonly T[]>;
export function list<T>(of: Option<T>, described: Described<readonly T[]>): Option<readonly T[]>;
export function list<T>(of: Option<T>, described: Described<readonly T[]>): any {
  const whole = (value: unknown): value is readonly unknown[] => Array.isArray(value) && value.length > 0;
  return {
    ...{ type: 'list', placeholder: 'list', expected: `a list, each entry ${of.expected}`, named: of.named },
    ...described,
    ...(of.names ? { names: of.names } : {}),
    schema: (parts: NamedParts) => ({ type: 'array', minItems: 1, items: of.schema(parts) }),
    accepts: (value: unknown): value is readonly T[] => whole(value) && value.every(of.accepts),
    parse: (word: string) => word.split(',').map((part) => of.parse(part.trim())),
    resolve(value: unknown, parts: NamedParts) {
      if (!whole(value)) return undefined;
      const entries = value.map((entry) => of.resolve(entry, parts));
      return entries.includes(undefined) ? undefined : entries;
    },
    show: (value: readonly T[]) => value.map(of.show).join(','),
  };
}

/** An object that code passes and a recipe names, from a short list: levels of SmoothQuant. */
export function choiceOf<T extends object>(
  values: Readonly<Record<string, T>>,
  described: Described<T> & { readonly default: T; readonly is?: (value: object) => boolean },
): WithDefault<T>;
export function choiceOf<T extends object>(
  values: Readonly<Record<string, T>>,
  described: Described<T> & { readonly is?: (value: object) => boolean },
): Option<T>;
export function choiceOf<T extends object>(
  values: Readonly<Record<string, T>>,
  { is = () => true, ...described }: Described<T> & { readonly is?: (value: object) => boolean },
): any {
  const names = Object.keys(values);
  return {
    ...{ type: 'object', placeholder: 'name', expected: `one of ${names.join(', ')}`, named: true },
    ...described,
    names: () => names,
    schema: () => ({ enum: names }),
    accepts: (value: unknown): value is T => typeof value === 'object' && value !== null && is(value),
    parse: (word: string) => word,
    resolve: (value: unknown) =>
      typeof value === 'string' && Object.hasOwn(values, value) ? values[value] : undefined,
    show: (value: T) => names.find((name) => values[name] === value) ?? 'another one',
  };
}

/** An object that only code can pass. */
export function codeOnly<T>(
  expected: string,
  is: (value: unknown) => boolean,
  described: Described<T> & { readonly default: T },
): WithDefault<T>;
export function codeOnly<T>(expected: string, is: (value: unknown) => boolean, described: Described<T>): Option<T>;
export function codeOnly<T>(expected: string, is: (value: unknown) => boolean, described: Described<T>): Option<T> {
  return {
    ...{ type: 'object', placeholder: 'object', expected, named: false },
    ...described,
    schema: () => ({ not: {} }),
    accepts: (value): value is T => is(value),
    parse: (word) => word,
    resolve: () => undefined,
    show: () => 'an object',
  };
}

/**
 * An object that code passes and a recipe names, from all declarations of a kind, also those of plugins: the fits. A
 * recipe gives the name, or an object with the name and the part's own options: `{ name: percentile, p: 0.999 }`.
 */
export function named<T extends object>(
  kind: string,
  is: (value: object) => boolean,
  described: Described<T>,
): Option<T> {
  const known = (parts: NamedParts): readonly Declaration<T>[] => parts[kind] ?? [];
  return {
    ...{ type: 'object', placeholder: 'name', expected: `one of the ${kind}`, named: true },
    ...described,
    names: (parts) => known(parts).map(({ name }) => name),
    schema: (parts) => ({
      anyOf: [
        { enum: known(parts).map(({ name }) => name) },
        { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
      ],
    }),
    accepts: (value): value is T => typeof value === 'object' && value !== null && is(value),
    parse: (word) => word,
    resolve(value, parts) {
      const { name, ...own } =
        typeof value === 'object' && value !== null ? (value as { name?: unknown }) : { name: value };
      const found = known(parts).find((part) => part.name === name);
      if (!found) return undefined;
      // A Map, because every plain object has a `constructor`, which is no option.
      const options = new Map(Object.entries(found.options as Record<string, Option>));
      for (const [key, given] of Object.entries(own as Record<string, unknown>)) {
        const option = options.get(key);
        if (!option?.accepts(given))
          throw new SchemeError(
            option
              ? `${found.name}: ${key} ${JSON.stringify(given)}: ${option.expected} was expected`
              : `${found.name}: has no option ${JSON.stringify(key)}`,
          );
      }
      return found.make(own);
    },
    show: (value) => `${(value as { name?: unknown }).name}`,
  };
}
