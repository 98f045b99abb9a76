import { SchemeError } from '../contracts/errors.js';
import type { OptionRecord, OptionSettings, OptionValues } from '../contracts/option.js';
import { closest } from './closest.js';

/**
 * Checks the options that code passed to a method, and fills in the defaults. An undefined value counts as absent.
 * @param owner named in the message: `gptq`
 * @throws SchemeError for a key that is not an option, with the nearest one, and for a value that is not allowed
 */
export function checkOptions<S extends OptionRecord>(
  owner: string,
  options: S,
  given: OptionValues<S>,
): OptionSettings<S> {
  if (typeof given !== 'object' || given === null)
    throw new SchemeError(`${owner}: an object of options was expected, got ${shown(given)}`);
  for (const [key, value] of Object.entries(given)) {
    const option = Object.hasOwn(options, key) ? options[key] : undefined;
    if (!option) throw new SchemeError(`${owner}: ${unknownOption(key, Object.keys(options))}`);
    if (value !== undefined && !option.accepts(value))
      throw new SchemeError(`${owner}: ${key} must be ${option.expected}, got ${shown(value)}`);
  }
  return Object.fromEntries(
    Object.entries(options).map(([key, option]) => [key, (given as Record<string, unknown>)[key] ?? option.default]),
  ) as OptionSettings<S>;
}

/** `has no option "dampin"; did you mean damping? It has damping, fit` */
export function unknownOption(key: string, known: readonly string[]): string {
  const slip = closest(key, known);
  const all = known.length > 0 ? `It has ${known.join(', ')}` : 'It has no options';
  return `has no option ${JSON.stringify(key)}${slip ? `; did you mean ${slip}?` : '.'} ${all}`;
}

/** A value in a message: JSON if that is short, else its kind. */
function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return `${value}`;
  if (typeof value === 'function') return 'a function';
  const text = JSON.stringify(value) ?? `${value}`;
  return text.length <= 60 ? text : Array.isArray(value) ? 'another list' : 'another object';
}

/** A part of a record of options, for methods that share them. */
export function pickOptions<S extends OptionRecord, const K extends keyof S>(
  options: S,
  ...keys: readonly K[]
): Pick<S, K> {
  return Object.fromEntries(keys.map((key) => [key, options[key]])) as Pick<S, K>;
}
