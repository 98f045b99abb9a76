/**
 * A number of a JSON file: itself, or what a text says; NaN for all else. `Number` of an object with a member `toString` that is no function
 * ends in a TypeError, and `Number` of `null` or `[]` is 0.
 */
export function statedNumber(value: unknown): number {
  if (typeof value === 'string' && value.trim() !== '') return Number(value);
  return typeof value === 'number' ? value : Number.NaN;
}
