import { minMax, type Quantizer, quantize, type ScaleFit } from '@q/core';

export interface RtnOptions {
  /** How scale and zero point are found. */
  readonly fit?: ScaleFit;
}

/** Round to nearest: the floor that every other method must beat. Data-free. */
export function rtn(options: RtnOptions = {}): Quantizer {
  const fit = options.fit ?? minMax();
  return {
    name: 'rtn',
    options: { fit: fit.name, ...fit.options },
    needs: [],
    async quantize(weight, _statistics, scheme) {
      return {
        quantized: quantize(weight, scheme, { fit }),
        report: { method: 'rtn', tokens: 0, figures: {}, notes: [] },
      };
    },
  };
}
