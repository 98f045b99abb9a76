import { UsageError } from './usage-error.js';

/** @throws UsageError when the text is not a whole number in range */
export function wholeNumber(
  option: string,
  text: string | undefined,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^-?[0-9]+$/.test(text.trim()) || value < min || value > max) {
    const range = max < Number.MAX_SAFE_INTEGER ? `from ${min} to ${max}` : `of at least ${min}`;
    throw new UsageError(`${option} ${text}: a whole number ${range} was expected`);
  }
  return value;
}
