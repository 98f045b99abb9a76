import { noStatistics } from '@q/calib';
import { createContext, type Kernels, minMax } from '@q/core';
import type { WeightQuantizer } from '@q/onnx';
import { rtn } from '@q/rtn';

/** Rounds weights without codes, on grids from their smallest to their largest value. */
export function weightQuantizer(kernels: Kernels): WeightQuantizer {
  const context = createContext({ kernels });
  const quantizer = rtn({ fit: minMax() });
  return async (weight, scheme) => (await quantizer.quantize(weight, noStatistics, scheme, context)).quantized;
}
