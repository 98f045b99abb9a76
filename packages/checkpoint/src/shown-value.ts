/**
 * A value of a JSON file for a message: words and numbers as they are, all else as JSON. A template would throw a
 * TypeError for an object with a member `toString` that is not a function.
 */
export const shownValue = (value: unknown): string =>
  typeof value === 'object' ? JSON.stringify(value) : String(value);
