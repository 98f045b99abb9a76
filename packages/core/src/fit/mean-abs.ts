import type { ScaleFit } from '../contracts/scale-fit.js';

/**
 * Mean magnitude of the values: the scale of XNOR-Net's binary weights and of BitNet b1.58's ternary ones
 * (docs/reference/file-formats.md#binary-and-ternary).
 */
export function meanAbsFit(): ScaleFit {
  return {
    name: 'meanAbs',
    options: {},
    fit({ values, rows, columns, importance, scale, zero }) {
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        let mass = 0;
        for (let j = 0; j < columns; j++) {
          const weight = importance ? importance[j] : 1;
          sum += weight * Math.abs(values[row * columns + j]);
          mass += weight;
        }
        scale[row] = mass > 0 ? sum / mass : 0;
        zero[row] = 0;
      }
    },
  };
}

/**
 * Ternary weight networks (arXiv 1605.04711): the scale is the mean magnitude of the values beyond 0.7 of the mean
 * magnitude. Codes then are the nearest levels, which never have a larger error than the paper's threshold.
 */
export function ternaryThreshold(): ScaleFit {
  return {
    name: 'ternaryThreshold',
    options: {},
    fit({ values, rows, columns, scale, zero }) {
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) sum += Math.abs(values[i]);
        const threshold = (0.7 * sum) / columns;
        let above = 0;
        let count = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) {
          const magnitude = Math.abs(values[i]);
          if (magnitude <= threshold) continue;
          above += magnitude;
          count++;
        }
        scale[row] = count > 0 ? above / count : 0;
        zero[row] = 0;
      }
    },
  };
}
