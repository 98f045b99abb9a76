import type { ScaleFit } from '../contracts/scale-fit.js';
import { roundHalfEven } from '../dtypes/round.js';
import { fitAbsMax } from './abs-max.js';
import { fitExtremes } from './fit-extremes.js';

/**
 * The range of the values, zero included: `s = (hi - lo) / (max - min)`, `z = round(min - lo/s)`
 * (docs/reference/papers.md#grids, asym). On a symmetric scheme it is GPTQ's symmetric fit, `s = 2m / (2^b - 1)`.
 */
export function minMax(): ScaleFit {
  const fit: ScaleFit = {
    name: 'minMax',
    options: {},
    fit(panel) {
      const { values, rows, columns, scheme, scale, zero } = panel;
      if (scheme.zeroPoint === 'none') {
        fitAbsMax(panel, 'gptq');
        zero.fill(0, 0, rows);
        return;
      }
      const { min, max } = scheme.format;
      for (let row = 0; row < rows; row++) {
        let low = 0;
        let high = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) {
          const x = values[i];
          if (x < low) low = x;
          else if (x > high) high = x;
        }
        const step = Math.fround((high - low) / (max - min));
        // A denormal divided by the range can become 0 in f32.
        scale[row] = step || (high > low ? 2 ** -149 : 0);
        const exact = min - low / (scale[row] || 1);
        zero[row] = scheme.zeroPoint === 'float' ? exact : Math.min(max, Math.max(min, roundHalfEven(exact)));
      }
    },
  };
  return { ...fit, fitGroups: fitExtremes(fit) };
}
