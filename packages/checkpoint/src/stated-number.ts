/**
 * A number of a JSON file: itself, or the value of a text; NaN for anything else. `Number` of an object with a member
 * `toString` that is not a function throws a TypeError, and `Number` of `null` or `[]` is 0.
 */
export function statedNumber(value: unknown): number {
  if (typeof value === 'string' && value.trim() !== '') return Number(value);
  return typeof value === 'number' ? value : Number.NaN;
}
