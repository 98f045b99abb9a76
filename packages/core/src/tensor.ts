import type { DType, DTypeData } from './contracts/dtype.js';
import { ShapeError } from './contracts/errors.js';
import type { Tensor } from './contracts/tensor.js';
import { allocate } from './dtypes/dtype.js';

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Wraps `data` without copying it.
 * @throws ShapeError when the length does not fit the shape
 */
export function tensor<D extends DType>(
  dtype: D,
  shape: readonly number[],
  data: DTypeData[D] = allocate(dtype, elementCount(shape)),
): Tensor<D> {
  if (data.length !== elementCount(shape)) {
    throw new ShapeError(`tensor of shape [${shape}] needs ${elementCount(shape)} elements, got ${data.length}`);
  }
  return { dtype, shape, data };
}
