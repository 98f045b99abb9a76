import type { DType, DTypeData } from './dtype.js';

/** Row-major values in host memory. Immutable by convention: only the code that made the tensor writes to it. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DTypeData[D];
}
