import { FormatError } from '@q/core';

/**
 * The group size of a quantization config: a positive number of columns, or -1 for whole rows.
 * @param where file and key, for messages
 * @throws FormatError for anything else
 */
export function groupSizeOf(value: unknown, where: string): number {
  const size = typeof value === 'string' ? Number(value) : value;
  if (size === null) return -1;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || (size < 1 && size !== -1))
    throw new FormatError(`${where}: group_size is ${JSON.stringify(value)}; a positive number or -1 was expected`);
  return size;
}
