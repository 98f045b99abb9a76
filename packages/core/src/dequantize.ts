import type { QuantizedTensor } from './contracts/quantized-tensor.js';
import type { Tensor } from './contracts/tensor.js';
import { forEachRun } from './encode.js';
import { tiling } from './schemes/granularity.js';
import { tensor } from './tensor.js';

/** Values `(decode(code) - zeroPoint) * scale` in f32, in the original shape. */
export function dequantize(quantized: QuantizedTensor): Tensor<'f32'> {
  const { scheme, shape, codes, scales, zeroPoints, groupIndex, codebook } = quantized;
  const { format } = scheme;
  const levels = decodeTable(quantized);
  const out = new Float32Array(codes.length);
  const tiles = tiling(scheme.granularity, shape);
  const perRow = codebook !== undefined && codebook.length > 2 ** format.bits ? 2 ** format.bits : 0;
  if (groupIndex) {
    const groups = scales.length / tiles.rows;
    for (let row = 0; row < tiles.rows; row++) {
      for (let column = 0; column < tiles.columns; column++) {
        const i = row * tiles.columns + column;
        const index = row * groups + groupIndex[column];
        out[i] = (levels[row * perRow + codes[i]] - (zeroPoints?.[index] ?? 0)) * scales[index];
      }
    }
    return tensor('f32', shape, out);
  }
  forEachRun(tiles, (start, end, index) => {
    const scale = scales[index];
    const zero = zeroPoints?.[index] ?? 0;
    const base = perRow * Math.floor(start / tiles.columns);
    for (let i = start; i < end; i++) out[i] = (levels[base + codes[i]] - zero) * scale;
  });
  return tensor('f32', shape, out);
}

function decodeTable({ scheme, codebook }: QuantizedTensor): Float32Array {
  if (codebook) return codebook;
  const table = new Float32Array(2 ** scheme.format.bits);
  for (let code = 0; code < table.length; code++) table[code] = scheme.format.decode(code);
  return table;
}
