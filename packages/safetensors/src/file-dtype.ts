import type { DType } from '@q/core';

/**
 * Dtypes of the format in the order of its enum, which is ascending alignment, with their bits
 * (docs/reference/file-formats.md#dtypes).
 */
export const fileDtypes = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type FileDtype = keyof typeof fileDtypes;

const order = new Map(Object.keys(fileDtypes).map((name, index) => [name, index]));

/** Position in the enum: the writer sorts by it, descending. */
export const dtypeRank = (dtype: FileDtype): number => order.get(dtype) as number;

export const isFileDtype = (name: string): name is FileDtype => order.has(name);

const toCore: Partial<Record<FileDtype, DType>> = {
  BOOL: 'bool',
  U8: 'u8',
  I8: 'i8',
  F8_E5M2: 'f8_e5m2',
  F8_E4M3: 'f8_e4m3',
  F8_E8M0: 'f8_e8m0',
  I16: 'i16',
  U16: 'u16',
  F16: 'f16',
  BF16: 'bf16',
  I32: 'i32',
  U32: 'u32',
  F32: 'f32',
  F64: 'f64',
  I64: 'i64',
  U64: 'u64',
};

/**
 * The tensor dtype of a file dtype; undefined for dtypes that can only be read as raw bytes (sub-byte, FNUZ, complex).
 */
export const coreDtype = (dtype: FileDtype): DType | undefined => toCore[dtype];

/** The file dtype of a tensor dtype. */
export const fileDtype = (dtype: DType): FileDtype => dtype.toUpperCase() as FileDtype;

const valueDtypes: ReadonlySet<FileDtype> = new Set(['F16', 'BF16', 'F32', 'F64']);

/**
 * Whether a tensor's elements are values. Elements of other dtypes are codes, counts or flags, and need a scale or
 * further knowledge.
 */
export const holdsValues = (dtype: FileDtype): boolean => valueDtypes.has(dtype);
