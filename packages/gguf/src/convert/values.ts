import type { GgufValue } from '../metadata.js';

export const u32 = (value: number): GgufValue => ({ type: 'u32', value });
export const f32 = (value: number): GgufValue => ({ type: 'f32', value });
export const bool = (value: boolean): GgufValue => ({ type: 'bool', value });
export const text = (value: string): GgufValue => ({ type: 'string', value });
export const list = (
  of: 'string' | 'i32' | 'f32' | 'bool',
  value: readonly (string | number | boolean)[],
): GgufValue => ({
  ...{ type: 'array', of, value },
});
