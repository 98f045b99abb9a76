import { describe, expect, it } from 'vitest';
import { CalibrationError } from '../contracts/errors.js';
import { referenceKernels } from '../kernels/reference.js';
import { createRandom } from '../random.js';
import { inputShift } from './input-shift.js';
import { residualCross } from './residual-cross.js';

const random = createRandom('cross');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const [tokens, width, hidden] = [14, 5, 3];
const batch = (count: number) => ({
  x: normals(count * width),
  reference: normals(count * width),
  residualError: normals(count * hidden),
  tokens: count,
  width,
});
type Batch = ReturnType<typeof batch>;

/** `sum_t a_t b_t^T` in f64. */
function outer(batches: readonly Batch[], a: (b: Batch) => Float32Array, rows: number): number[] {
  const sum = new Array<number>(rows * width).fill(0);
  for (const each of batches)
    for (let t = 0; t < each.tokens; t++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < width; j++) sum[i * width + j] += a(each)[t * rows + i] * each.x[t * width + j];
  return sum;
}

describe.each([
  ['inputShift', inputShift, (b: Batch) => b.reference.map((value, i) => value - b.x[i]), width],
  ['residualCross', residualCross, (b: Batch) => b.residualError, hidden],
] as const)('%s', (_name, statistic, left, rows) => {
  it('is the sum over tokens, whether seen at once, in parts, merged or read back', async () => {
    const parts = [batch(tokens), batch(3), batch(8)];
    const expected = outer(parts, left, rows);
    const whole = statistic.create(width);
    for (const part of parts) await statistic.update(whole as never, part, referenceKernels);
    const [a, b] = [statistic.create(width), statistic.create(width)];
    await statistic.update(a as never, parts[0], referenceKernels);
    for (const part of parts.slice(1)) await statistic.update(b as never, part, referenceKernels);
    const merged = statistic.create(width);
    statistic.merge(merged as never, a as never);
    statistic.merge(merged as never, b as never);
    const read = statistic.deserialize(statistic.serialize(merged as never));
    for (const state of [whole, merged, read]) {
      expect(statistic.count(state as never)).toBe(25);
      expect([state.sum.length, state.width]).toEqual([rows * width, width]);
      expected.forEach((value, i) => {
        expect(state.sum[i]).toBeCloseTo(value, 4);
      });
    }
  });

  it('compares outputs, and no inputs, where those wanted are given', async () => {
    const state = statistic.create(width);
    const part = { ...batch(tokens), wanted: normals(tokens * hidden), residual: normals(tokens * hidden) };
    await statistic.update(state as never, part, referenceKernels);
    const expected =
      statistic === inputShift ? new Array(width * width).fill(0) : outer([part], () => part.wanted, hidden);
    const read = statistic.deserialize(statistic.serialize(state as never));
    const merged = statistic.create(width);
    statistic.merge(merged as never, read as never);
    for (const each of [state, read, merged])
      expected.forEach((value, i) => {
        expect(each.sum[i]).toBeCloseTo(value, 4);
      });
    if (statistic === inputShift) return;
    // A stream of some tokens with the outputs and of others without has no meaning.
    await expect(statistic.update(state as never, batch(2), referenceKernels)).rejects.toThrow(CalibrationError);
  });

  it('refuses another width', async () => {
    const state = statistic.create(4);
    await expect(statistic.update(state as never, batch(2), referenceKernels)).rejects.toThrow(CalibrationError);
  });
});

it('the shift needs the unquantized inputs; the residual may be absent', async () => {
  const { x } = batch(2);
  const seen = { x, tokens: 2, width };
  await expect(inputShift.update(inputShift.create(width), seen, referenceKernels)).rejects.toThrow(
    'inputs of the unquantized model',
  );
  const state = residualCross.create(width);
  await residualCross.update(state, seen, referenceKernels);
  expect([state.count, state.sum.length]).toEqual([2, 0]);
});

it('inputShift keeps the sum of squares of the unquantized inputs, feature by feature', async () => {
  const parts = [batch(6), batch(9)];
  const states = parts.map(() => inputShift.create(width));
  for (const [i, part] of parts.entries()) await inputShift.update(states[i], part, referenceKernels);
  inputShift.merge(states[0], states[1]);
  for (let j = 0; j < width; j++) {
    let sum = 0;
    for (const { reference, tokens: count } of parts)
      for (let t = 0; t < count; t++) sum += reference[t * width + j] ** 2;
    expect(states[0].referenceSquares[j]).toBeCloseTo(sum, 4);
  }
});
