import { createRandom, f32Scale, referenceKernels } from '@q/core';
import { describe, expect, it } from 'vitest';
import { type RefineOutputsProblem, refineOutputs } from './refine-outputs.js';

const kernels = referenceKernels;

/** `A A^T + ridge I` of random A. */
function positive(n: number, seed: string, ridge = 0.1): Float32Array {
  const random = createRandom(1).fork(seed);
  const a = Float64Array.from({ length: n * n }, () => random.normal());
  return Float32Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = i === j ? ridge * n : 0;
    for (let k = 0; k < n; k++) sum += a[i * n + k] * a[j * n + k];
    return sum / n;
  });
}

function problem(rows: number, columns: number, outputs: Float32Array, refitScales = false): RefineOutputsProblem {
  const random = createRandom(2);
  const target = Float32Array.from({ length: rows * columns }, () => random.normal());
  const scales = new Float32Array(rows).fill(1);
  const zeros = new Float32Array(rows).fill(2);
  const codes = Uint8Array.from(target, (value) => Math.min(3, Math.max(0, Math.round(value + 2))));
  return {
    ...{ rows, columns, target, outputs, hessian: positive(columns, 'inputs'), codes, scales, zeros },
    ...{ grid: { kind: 'linear', min: 0, max: 3 }, storage: f32Scale, refitScales, blockSize: 128 },
    ...{ group: new Int32Array(columns), groups: 1 },
  };
}

/** In f64, entry by entry. */
function plainLoss({ rows, columns, outputs, hessian, target, codes, scales, zeros }: RefineOutputsProblem): number {
  const d = Float64Array.from(target, (value, at) => {
    const row = Math.floor(at / columns);
    return value - (codes[at] - zeros[row]) * scales[row];
  });
  let sum = 0;
  for (let a = 0; a < rows; a++)
    for (let b = 0; b < rows; b++)
      for (let i = 0; i < columns; i++)
        for (let j = 0; j < columns; j++)
          sum += outputs[a * rows + b] * d[a * columns + i] * hessian[i * columns + j] * d[b * columns + j];
  return sum;
}

describe('refineOutputs', () => {
  it('never raises tr(G D H D^T)', async () => {
    for (const refitScales of [false, true]) {
      const each = problem(40, 9, positive(40, 'outputs'), refitScales);
      let last = plainLoss(each);
      for (let round = 0; round < 3; round++) {
        await refineOutputs(each, 1, kernels);
        const now = plainLoss(each);
        expect(now).toBeLessThanOrEqual(last * (1 + 1e-5));
        last = now;
      }
    }
  });

  it('ends where no single code can be changed for the better', async () => {
    const each = problem(35, 6, positive(35, 'outputs'));
    await refineOutputs(each, 20, kernels);
    const reached = plainLoss(each);
    for (let at = 0; at < each.codes.length; at += 7) {
      const own = each.codes[at];
      for (let code = 0; code < 4; code++) {
        each.codes[at] = code;
        expect(plainLoss(each)).toBeGreaterThan(reached - 1e-4);
      }
      each.codes[at] = own;
    }
  });

  it('makes up across outputs for what one output alone cannot', async () => {
    const ratios = Array.from({ length: 5 }, async (_, seed) => {
      const outputs = positive(24, `outputs ${seed}`, 0.02);
      const alone = problem(24, 12, outputs);
      const diagonal = outputs.map((value, at) => (Math.floor(at / 24) === at % 24 ? value : 0));
      await refineOutputs({ ...alone, outputs: diagonal }, 5, kernels);
      const together = problem(24, 12, outputs);
      await refineOutputs(together, 5, kernels);
      return plainLoss(together) / plainLoss(alone);
    });
    const all = await Promise.all(ratios);
    expect(all.reduce((sum, ratio) => sum + ratio, 0) / all.length).toBeLessThan(0.7);
  });
});
