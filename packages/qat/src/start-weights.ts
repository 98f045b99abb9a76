import { type QuantizedTensor, type Tensor, tensor, tiling } from '@q/core';
import { decodeTable } from './parameters/learned-step.js';

/**
 * Position of a moved weight in its cell, as a share of the distance from the level to the border. Near the border, the
 * first steps of Adam, which have one size for all weights, would change most of the quantizer's codes at once.
 */
const inside = 0.5;

/**
 * The weights nearest to the original ones that round to given codes. Weights that already round to their code stay;
 * the others move into their code's cell. So training starts at the quantizer's result, and as near to the original
 * model as that allows. For integers only; for other formats the result is the dequantized values.
 */
export function nearestInCells(original: Tensor<'f32'>, quantized: QuantizedTensor): Tensor<'f32'> {
  const { scheme, codes, scales, zeroPoints, groupIndex } = quantized;
  const { rows, columns, tileRows, tileColumns, scaleColumns } = tiling(scheme.granularity, original.shape);
  const levels = decodeTable(scheme);
  const { family, min, max } = scheme.format;
  const groups = groupIndex ? scales.length / rows : scaleColumns;
  const out = new Float32Array(original.data.length);
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / tileRows) * groups;
    for (let column = 0; column < columns; column++) {
      const index = first + (groupIndex ? groupIndex[column] : Math.floor(column / tileColumns));
      const i = row * columns + column;
      const s = scales[index];
      const z = zeroPoints ? zeroPoints[index] : 0;
      const q = levels[codes[i]];
      if (family !== 'linear') {
        out[i] = q * s;
        continue;
      }
      const v = original.data[i] / s + z;
      const low = q === min ? Number.NEGATIVE_INFINITY : q - inside / 2;
      const high = q === max ? Number.POSITIVE_INFINITY : q + inside / 2;
      out[i] = v < low ? (low - z) * s : v > high ? (high - z) * s : original.data[i];
    }
  }
  return tensor('f32', original.shape, out);
}
