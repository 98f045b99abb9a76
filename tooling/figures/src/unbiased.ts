import { type QuantizedTensor, type Quantizer, type Tensor, tiling } from '@q/core';

/**
 * The same codes with the scale of each group (of one row) multiplied by `<w, w> / <w, q>`. So the rounded group has no
 * systematic loss along its own weights. The least squared error has one: at 2 bits about a tenth of every linear's
 * output.
 */
export function withoutShrinkage(weight: Tensor<'f32'>, quantized: QuantizedTensor): QuantizedTensor {
  const { scheme, codes, zeroPoints } = quantized;
  const { rows, columns, tileColumns, scaleColumns } = tiling(scheme.granularity, weight.shape);
  const scales = quantized.scales.slice();
  for (let row = 0; row < rows; row++)
    for (let group = 0; group < scaleColumns; group++) {
      const at = row * scaleColumns + group;
      const end = Math.min((group + 1) * tileColumns, columns);
      let [own, both] = [0, 0];
      for (let j = row * columns + group * tileColumns; j < row * columns + end; j++) {
        own += weight.data[j] ** 2;
        both += weight.data[j] * (scheme.format.decode(codes[j]) - (zeroPoints?.[at] ?? 0)) * scales[at];
      }
      if (both > 0) scales[at] *= own / both;
    }
  const storedScales = scheme.scaleStorage.store(scales);
  return { ...quantized, scales: storedScales.effective, storedScales };
}

export const unbiased = (inner: Quantizer): Quantizer => ({
  ...inner,
  async quantize(weight, ...rest) {
    const { quantized, report } = await inner.quantize(weight, ...rest);
    return { quantized: withoutShrinkage(weight, quantized), report };
  },
});
