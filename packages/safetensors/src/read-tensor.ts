import { FormatError, type Tensor, viewBytes } from '@q/core';
import type { ByteSource } from './byte-source.js';
import { coreDtype } from './file-dtype.js';
import type { TensorEntry } from './header.js';

/** The bytes of a tensor as they are in the file. */
export function readTensorBytes(source: ByteSource, entry: TensorEntry, out?: Uint8Array): Promise<Uint8Array> {
  return source.slice(entry.begin, entry.end, out);
}

/**
 * A whole tensor.
 * @param out see {@link ByteSource.slice}
 * @throws FormatError for dtypes without a tensor dtype (for sub-byte ones read their bytes)
 */
export async function readTensor(source: ByteSource, entry: TensorEntry, out?: Uint8Array): Promise<Tensor> {
  const dtype = coreDtype(entry.dtype);
  if (!dtype)
    throw new FormatError(
      `${source.name}: tensor ${entry.name} has dtype ${entry.dtype}, which can only be read as bytes`,
    );
  return { dtype, shape: entry.shape, data: viewBytes(dtype, await readTensorBytes(source, entry, out)) };
}
