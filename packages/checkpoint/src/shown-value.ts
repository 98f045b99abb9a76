/**
 * A value of a JSON file for a message: words and numbers as they are, all else as JSON. In a template an object with a
 * member `toString` of its own, which is no function, ends in a TypeError.
 */
export const shownValue = (value: unknown): string =>
  typeof value === 'object' ? JSON.stringify(value) : String(value);
