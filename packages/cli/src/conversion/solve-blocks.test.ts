import { createCollector } from '@q/calib';
import { createRandom, referenceKernels, tensor } from '@q/core';
import { iq4_NL, iq4_XS, mxfp4, q2_K, q3_K, q4_0, q4_1, q4_K, q5_0, q6_K, q8_0 } from '@q/gguf';
import { blockStatistics, solveBlocks } from '@q/gptq';
import { describe, expect, it } from 'vitest';

const [rows, columns, tokens] = [4, 256, 320];

/** Inputs whose features go together, as those of layers do, and a weight. */
async function layer() {
  const random = createRandom('solve blocks');
  const shared = Float32Array.from({ length: tokens * 16 }, () => random.normal());
  const mix = Float32Array.from({ length: 16 * columns }, () => random.normal());
  const x = new Float32Array(tokens * columns);
  for (let t = 0; t < tokens; t++)
    for (let j = 0; j < columns; j++) {
      let sum = 0.3 * random.normal();
      for (let k = 0; k < 16; k++) sum += shared[t * 16 + k] * mix[k * columns + j] * 0.25;
      x[t * columns + j] = sum;
    }
  const collector = createCollector([...blockStatistics], columns, 'layer');
  const batch = { x, tokens, width: columns, reference: x, residualError: new Float32Array(tokens * rows) };
  await collector.update({ ...batch, residual: new Float32Array(tokens * rows) }, referenceKernels);
  const weight = tensor(
    'f32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => 0.05 * random.normal()),
  );
  return { x, weight, statistics: collector.statistics };
}

/** Squared error of the outputs, in f64 from the inputs themselves. */
function outputError(x: Float32Array, weight: Float32Array, values: Float32Array): number {
  let sum = 0;
  for (let t = 0; t < tokens; t++)
    for (let row = 0; row < rows; row++) {
      let off = 0;
      for (let j = 0; j < columns; j++)
        off += x[t * columns + j] * (weight[row * columns + j] - values[row * columns + j]);
      sum += off * off;
    }
  return sum;
}

describe('solveBlocks', async () => {
  const { x, weight, statistics } = await layer();
  const importance = Float32Array.from({ length: columns }, (_, j) => {
    let sum = 0;
    for (let t = 0; t < tokens; t++) sum += x[t * columns + j] ** 2;
    return sum / tokens;
  });

  it.each([q4_0, q5_0, q8_0, q4_1, q2_K, q3_K, q4_K, q6_K, iq4_NL, iq4_XS, mxfp4])(
    '$name: bytes that a reader decodes to outputs nearer to the original than those of the encoder',
    async (format) => {
      const { bytes, values } = await solveBlocks(weight, statistics, format, referenceKernels);
      const decoded = new Float32Array(rows * columns);
      format.decode(bytes, decoded);
      expect(decoded).toEqual(values.data);
      const encoded = new Uint8Array(bytes.length);
      expect(format.encode(weight.data, encoded, importance)).toBe(true);
      const plain = new Float32Array(rows * columns);
      format.decode(encoded, plain);
      const share = outputError(x, weight.data, decoded) / outputError(x, weight.data, plain);
      expect(share).toBeLessThan(0.8);
    },
  );
});
