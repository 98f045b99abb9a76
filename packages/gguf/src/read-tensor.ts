import { FormatError } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufTensor } from './header.js';

/**
 * The values of a tensor, in row-major order.
 * @throws FormatError when this toolkit cannot decode its type
 */
export async function readGgufTensor(source: ByteSource, tensor: GgufTensor): Promise<Float32Array> {
  const { name, type, shape, begin, end } = tensor;
  if (!type.format)
    throw new FormatError(`${source.name}: tensor ${name} is of type ${type.name}, which cannot be decoded`);
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  type.format.decode(await source.slice(begin, end), values);
  return values;
}
