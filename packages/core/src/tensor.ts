import { ShapeError } from './contracts/errors.js';
import { allocate, type DType, type DTypeData } from './dtypes/dtype.js';

/** Row-major values in host memory. Immutable by convention: only the code that made the tensor writes to it. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DTypeData[D];
}

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
