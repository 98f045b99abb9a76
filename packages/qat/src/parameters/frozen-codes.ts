import { dequantize, type QuantizedTensor, SchemeError, tiling } from '@q/core';
import { decodeTable, separateStorages } from './learned-step.js';
import type { QuantizedParameterization } from './parameterization.js';

/**
 * Frozen integers, trained scales (PEQA, arXiv 2305.14152, equation 2; EfficientQAT's second phase, arXiv 2407.11062):
 * `what = (q - z) s`, so `dL/ds = sum over the tile of dL/dwhat (q - z)`, exactly: only the scale is rounded, to its
 * storage. Codes and zero points never change.
 * @throws SchemeError for storages whose scales depend on each other
 */
export function frozenCodes(quantized: QuantizedTensor): QuantizedParameterization {
  const { scheme, shape, codes, zeroPoints, groupIndex, codebook } = quantized;
  if (!separateStorages.has(scheme.scaleStorage.name))
    throw new SchemeError(`scales stored as ${scheme.scaleStorage.name} depend on each other: they cannot be trained`);
  if (codebook) throw new SchemeError('a tensor with a codebook of its own has no single scale to train');
  const scale = quantized.scales.slice();
  const levels = decodeTable(scheme);
  const { rows, columns, tileRows, tileColumns, scaleColumns } = tiling(scheme.granularity, shape);
  const groups = groupIndex ? scale.length / rows : scaleColumns;
  const current = (): QuantizedTensor => {
    const storedScales = scheme.scaleStorage.store(scale);
    return { ...quantized, scales: storedScales.effective, storedScales };
  };
  return {
    shape,
    parameters: { scale },
    value: () => dequantize(current()).data,
    backward(derivative) {
      const sums = new Float64Array(scale.length);
      for (let row = 0; row < rows; row++) {
        const first = Math.floor(row / tileRows) * groups;
        for (let column = 0; column < columns; column++) {
          const index = first + (groupIndex ? groupIndex[column] : Math.floor(column / tileColumns));
          const i = row * columns + column;
          sums[index] += derivative[i] * (levels[codes[i]] - (zeroPoints ? zeroPoints[index] : 0));
        }
      }
      return { scale: Float32Array.from(sums) };
    },
    quantized: current,
  };
}
