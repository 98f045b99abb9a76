import {
  createContext,
  createRandom,
  dequantize,
  f32Scale,
  hessian,
  inputShift,
  int4,
  perGroup,
  residualCross,
  type Statistics,
  scheme,
  tensor,
  uint2,
  uint3,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { type GptqOptions, gptq, paperOptions } from './gptq.js';
import { type RefineProblem, refine } from './refine.js';
import { retarget } from './retarget.js';
import { roundingGrid } from './rounding-grid.js';

const context = createContext();
const random = createRandom('beyond the paper');
const normals = (count: number, size = 1) => Float32Array.from({ length: count }, () => size * random.normal());

/** `[m, k] [k, n]` in f64. */
function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) out[i * n + j] += a[i * k + p] * b[p * n + j];
  return out;
}
const transposed = (a: ArrayLike<number>, m: number, n: number) =>
  Float64Array.from({ length: m * n }, (_, at) => a[(at % m) * n + Math.floor(at / m)]);

/** Solves `A x = b` for symmetric positive definite A by Gaussian elimination in f64; b is `[n, k]`. */
function solved(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const [left, right] = [a.slice(), b.slice()];
  const k = b.length / n;
  for (let p = 0; p < n; p++) {
    for (let i = p + 1; i < n; i++) {
      const factor = left[i * n + p] / left[p * n + p];
      for (let j = p; j < n; j++) left[i * n + j] -= factor * left[p * n + j];
      for (let j = 0; j < k; j++) right[i * k + j] -= factor * right[p * k + j];
    }
  }
  for (let p = n - 1; p >= 0; p--) {
    for (let j = 0; j < k; j++) {
      for (let i = p + 1; i < n; i++) right[p * k + j] -= left[p * n + i] * right[i * k + j];
      right[p * k + j] /= left[p * n + p];
    }
  }
  return right;
}

/** Inputs `[tokens, n]` of the unquantized model, what the linear sees instead, and the residual stream's error. */
function noisyPrefix(tokens: number, n: number, outputs: number) {
  const mixture = normals(n * n, 1 / Math.sqrt(n));
  const x = Float32Array.from(product(normals(tokens * n), mixture, tokens, n, n));
  // The error of an earlier linear depends on what it computes from.
  const error = product(x, normals(n * n, 0.2 / Math.sqrt(n)), tokens, n, n);
  const seen = x.map((value, i) => value + error[i] + 0.05 * random.normal());
  const residualError = Float32Array.from(product(x, normals(n * outputs, 0.8 / Math.sqrt(n)), tokens, n, outputs));
  return { x, seen, residualError };
}

async function collect(data: ReturnType<typeof noisyPrefix>, tokens: number, n: number): Promise<Statistics> {
  const states = new Map<string, unknown>();
  for (const statistic of [hessian, inputShift, residualCross]) {
    const state = statistic.create(n) as never;
    const batch = { x: data.seen, reference: data.x, residualError: data.residualError, tokens, width: n };
    await statistic.update(state, batch, context.kernels);
    states.set(statistic.name, state);
  }
  return { get: ({ name }) => states.get(name) as never, has: ({ name }) => states.has(name) };
}

describe('retarget', () => {
  it('is the ridge regression of the unquantized outputs and the missing residual on what the linear sees', async () => {
    const [tokens, n, rows] = [60, 12, 5];
    const { x, seen, residualError } = noisyPrefix(tokens, n, rows);
    const weight = normals(rows * n);
    const gram = product(transposed(seen, tokens, n), seen, n, tokens, n);
    const cross = product(transposed(x, tokens, n), seen, n, tokens, n);
    const missing = product(transposed(residualError, tokens, rows), seen, rows, tokens, n);
    const ridge = 0.7;
    const ridged = gram.slice();
    for (let i = 0; i < n; i++) ridged[i * n + i] += ridge;
    // (H + ridge I) W'^T = (W C + E X'^T + ridge W)^T, by elimination.
    const right = product(weight, cross, rows, n, n).map((v, i) => v + missing[i] + ridge * weight[i]);
    const expected = transposed(solved(ridged, transposed(right, rows, n), n), n, rows);

    const factor = ridged.slice();
    await context.kernels.cholesky({ a: factor, n, form: 'reversed-upper' });
    const shift = Float32Array.from(cross, (value, i) => value - gram[i]);
    const byInputs = product(weight, shift, rows, n, n);
    const asked = Float64Array.from(byInputs, (value, i) => value + missing[i]);
    const whole = await retarget(asked, rows, Float32Array.from(factor), context.kernels);
    for (let i = 0; i < whole.length; i++) expect(weight[i] + whole[i]).toBeCloseTo(expected[i], 4);
  });

  it('brings the output on other tokens nearer to the unquantized model', async () => {
    const [tokens, n, rows] = [2000, 24, 16];
    const all = noisyPrefix(2 * tokens, n, rows);
    const part = (from: number): typeof all => ({
      x: all.x.subarray(from * n, (from + tokens) * n),
      seen: all.seen.subarray(from * n, (from + tokens) * n),
      residualError: all.residualError.subarray(from * rows, (from + tokens) * rows),
    });
    const statistics = await collect(part(0), tokens, n);
    const heldOut = part(tokens);
    const weight = tensor('f32', [rows, n], normals(rows * n));
    const of = scheme({ format: uint3, granularity: perGroup(8), zeroPoint: 'integer' });
    const wanted = product(heldOut.x, transposed(weight.data, rows, n), tokens, n, rows);
    const error = async (options: GptqOptions, withResidual: boolean) => {
      const { quantized, report } = await gptq(options).quantize(weight, statistics, of, context);
      expect(report.method).toBe('gptq');
      const given = product(heldOut.seen, transposed(dequantize(quantized).data, rows, n), tokens, n, rows);
      return given.reduce((sum, v, i) => sum + (v - wanted[i] - (withResidual ? heldOut.residualError[i] : 0)) ** 2, 0);
    };
    const inputsOnly: GptqOptions = { ...paperOptions, retarget: 1 };
    expect(await error(inputsOnly, false)).toBeLessThan(0.5 * (await error(paperOptions, false)));
    expect(await error({ ...inputsOnly, residual: true }, true)).toBeLessThan(0.5 * (await error(inputsOnly, true)));
  });
});

describe('refinement', () => {
  const [rows, n, groups] = [4, 18, 3];

  function problem(refitScales: boolean): RefineProblem & { loss(): number; row(row: number): number } {
    const mixture = normals(n * n);
    const h = Float32Array.from(product(transposed(mixture, n, n), mixture, n, n, n));
    for (let i = 0; i < n; i++) h[i * n + i] += 0.5;
    const target = normals(rows * n);
    const grid = roundingGrid(uint2);
    const scales = Float32Array.from({ length: rows * groups }, () => 1.2);
    const zeros = new Float32Array(rows * groups).fill(1);
    const group = Int32Array.from({ length: n }, (_, j) => Math.floor((j * groups) / n));
    const codes = Uint8Array.from({ length: rows * n }, () => random.integer(4));
    const self = {
      rows,
      columns: n,
      target,
      hessian: h,
      grid,
      storage: f32Scale,
      group,
      groups,
      blockSize: 5,
      codes,
      scales,
      zeros,
      refitScales,
      /** From codes and scales alone, in f64. */
      row(row: number) {
        const d = Float64Array.from({ length: n }, (_, j) => {
          const at = row * groups + group[j];
          return target[row * n + j] - (codes[row * n + j] - zeros[at]) * scales[at];
        });
        return product(product(d, h, 1, n, n), d, 1, n, 1)[0];
      },
      loss: () => Array.from({ length: rows }, (_, row) => self.row(row)).reduce((a, b) => a + b),
    };
    return self;
  }

  it('coordinate descent lowers the loss until no single code can be changed for the better', async () => {
    const it = problem(false);
    let last = it.loss();
    for (let sweep = 0; sweep < 40; sweep++) {
      refine(it, 1, context.kernels);
      expect(it.loss()).toBeLessThanOrEqual(last * (1 + 1e-5));
      last = it.loss();
    }
    for (let row = 0; row < rows; row++) {
      const best = it.row(row);
      for (let j = 0; j < n; j++) {
        const kept = it.codes[row * n + j];
        for (let code = 0; code < 4; code++) {
          it.codes[row * n + j] = code;
          expect(it.row(row)).toBeGreaterThan(best * (1 - 1e-5));
        }
        it.codes[row * n + j] = kept;
      }
    }
  });

  it('rounds end where neither a code nor a scale alone can be changed for the better', async () => {
    const it = problem(true);
    let last = it.loss();
    for (let round = 0; round < 200; round++) {
      refine(it, 1, context.kernels);
      expect(it.loss()).toBeLessThanOrEqual(last * (1 + 1e-5));
      last = it.loss();
    }
    for (let row = 0; row < rows; row++) {
      const best = it.row(row);
      for (let index = 0; index < groups; index++) {
        const kept = it.scales[row * groups + index];
        // A scale that would have changed its sign was left where it was.
        if (kept === Math.fround(1.2)) continue;
        for (const factor of [0.99, 1.01]) {
          it.scales[row * groups + index] = kept * factor;
          expect(it.row(row)).toBeGreaterThan(best * (1 - 1e-6));
        }
        it.scales[row * groups + index] = kept;
      }
    }
  });

  it.each([
    ['symmetric, in groups', scheme({ format: int4, granularity: perGroup(6) })],
    ['asymmetric, per channel', scheme({ format: uint2, zeroPoint: 'integer' })],
    ['asymmetric, in groups', scheme({ format: uint3, granularity: perGroup(7), zeroPoint: 'integer' })],
  ])('rounds after the sweep lower the loss of the codes, %s', async (_name, of) => {
    const tokens = 200;
    const statistics = await collect(noisyPrefix(tokens, n, rows), tokens, n);
    const weight = tensor('f32', [rows, n], normals(rows * n));
    const run = (refineRounds: number) =>
      gptq({ ...paperOptions, refineRounds }).quantize(weight, statistics, of, context);
    const [swept, refined] = [await run(0), await run(3)];
    const sum = statistics.get(hessian).sum;
    const damped = Float64Array.from(sum);
    let mean = 0;
    for (let i = 0; i < n; i++) mean += sum[i * n + i] / n;
    for (let i = 0; i < n; i++) damped[i * n + i] += 0.01 * mean;
    const [before, after] = [swept, refined].map(({ quantized }) => {
      const d = dequantize(quantized).data.map((q, i) => weight.data[i] - q);
      return product(d, damped, rows, n, n).reduce((total, v, i) => total + v * d[i], 0);
    });
    expect(after).toBeLessThan(before);
  });
});
