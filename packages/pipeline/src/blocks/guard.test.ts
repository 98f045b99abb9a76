import {
  createRandom,
  dequantize,
  int4,
  minMax,
  NumericError,
  perChannel,
  perGroup,
  type QuantizedTensor,
  quantize,
  referenceKernels,
  type Scheme,
  scheme,
  type Tensor,
  tensor,
  uint4,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { guard } from './guard.js';

const random = createRandom('guard');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const [rows, columns, tokens] = [5, 16, 40];
const weight = tensor('f32', [rows, columns], normals(rows * columns));
const x = normals(tokens * columns).map((value, at) => value * (1 + (at % columns)));
const hessian = new Float64Array(columns ** 2);
for (let t = 0; t < tokens; t++)
  for (let i = 0; i < columns; i++)
    for (let j = 0; j < columns; j++) hessian[i * columns + j] += x[t * columns + i] * x[t * columns + j];

/** `||X V^T||^2` from its definition; of the values alone without inputs. */
function energy(v: ArrayLike<number>, inputs?: Float32Array): number {
  let sum = 0;
  if (!inputs) for (let i = 0; i < v.length; i++) sum += v[i] ** 2;
  else
    for (let t = 0; t < tokens; t++)
      for (let row = 0; row < rows; row++) {
        let output = 0;
        for (let j = 0; j < columns; j++) output += v[row * columns + j] * inputs[t * columns + j];
        sum += output ** 2;
      }
  return sum;
}
const minus = (a: Tensor<'f32'>, b: Tensor<'f32'>) => Float64Array.from(a.data, (value, i) => value - b.data[i]);

const judged = (quantized: QuantizedTensor, of: Scheme, more: object = {}) =>
  guard(
    {
      ...{ module: 'a.b', method: 'mine', scheme: of, weight, wantsValues: true },
      result: { quantized, report: { method: 'mine', tokens: 9, figures: { own: 1 }, notes: ['a note'] } },
      ...more,
    },
    referenceKernels,
  );

describe('guard', () => {
  it.each([
    ['integers in groups', scheme({ format: int4, granularity: perGroup(8) })],
    ['with zero points', scheme({ format: uint4, granularity: perChannel, zeroPoint: 'integer' })],
  ])('measures on the inputs, or the weights alone, and keeps what is no worse: %s', async (_what, of) => {
    const quantized = quantize(weight, of, { fit: minMax() });
    const values = dequantize(quantized);
    for (const inputs of [undefined, x]) {
      const found = await judged(quantized, of, inputs ? { hessian } : { wantsValues: false });
      const expected = energy(minus(weight, values), inputs) / energy(weight.data, inputs);
      expect(found.error / expected).toBeCloseTo(1, 4);
      expect(found.rtnError / expected).toBeCloseTo(1, 4);
      expect([found.quantized, found.report.outcome, found.targetShift]).toEqual([quantized, undefined, undefined]);
    }
  });

  it('rounds to nearest what came out worse, on the record', async () => {
    const of = scheme({ format: int4, granularity: perGroup(8) });
    const good = quantize(weight, of, { fit: minMax() });
    const bad = { ...good, codes: good.codes.map((code) => (code + 3) % 16) };
    const found = await judged(bad, of, { hessian });
    expect(found.report).toMatchObject({
      ...{ method: 'rtn', tokens: 9, figures: { own: 1 } },
      outcome: { kind: 'fallback', to: 'rtn', reason: 'worse', why: expect.stringMatching(/above .*e-\d+ of round/) },
      notes: ['a note', expect.stringContaining('mine was replaced by round-to-nearest here: its error')],
    });
    const own = energy(minus(weight, dequantize(found.quantized)), x);
    expect(own).toBeLessThanOrEqual(energy(minus(weight, dequantize(good)), x) * (1 + 1e-5));
    expect(found.error / (own / energy(weight.data, x))).toBeCloseTo(1, 4);
    expect(found.values).toEqual(dequantize(found.quantized));
  });

  it('rounds to nearest what is not finite; refuses a linear that is not finite then either', async () => {
    const of = scheme({ format: int4, granularity: perGroup(8) });
    const good = quantize(weight, of, { fit: minMax() });
    for (const wantsValues of [true, false]) {
      const bad = { ...good, scales: good.scales.map((scale, i) => (i === 3 ? Number.NaN : scale)) };
      const { report, quantized } = await judged(bad, of, { wantsValues });
      expect(report.outcome).toMatchObject({ kind: 'fallback', reason: 'notFinite' });
      expect(dequantize(quantized).data.every(Number.isFinite)).toBe(true);
      // A storage that overflows: no rounding helps.
      const store = (scales: Float32Array) => ({ effective: scales.map(() => Number.POSITIVE_INFINITY) });
      const overflowing = { ...of, scaleStorage: { ...of.scaleStorage, store } };
      const refused = judged({ ...bad, scheme: overflowing }, overflowing, { wantsValues });
      await expect(refused).rejects.toThrow(NumericError);
      await expect(refused).rejects.toThrow('a.b: mine produced values that are not finite');
    }
  });

  it('measures against the target of a method that moved it, and says how far it moved', async () => {
    const of = scheme({ format: int4, granularity: perGroup(8) });
    const target = tensor(
      'f32',
      [rows, columns],
      weight.data.map((value) => value + 2 * random.normal()),
    );
    const quantized = quantize(target, of, { fit: minMax() });
    const report = { method: 'mine', tokens: 9, figures: {}, notes: [] };
    const found = await judged(quantized, of, { hessian, result: { quantized, report, target } });
    const size = energy(target.data, x);
    const nearest = dequantize(quantize(weight, of, { fit: minMax() }));
    expect(found.report.outcome).toBeUndefined();
    expect(found.error / (energy(minus(target, dequantize(quantized)), x) / size)).toBeCloseTo(1, 4);
    expect(found.rtnError / (energy(minus(target, nearest), x) / size)).toBeCloseTo(1, 4);
    expect((found.targetShift as number) / (energy(minus(target, weight), x) / size)).toBeCloseTo(1, 4);
  });
});
