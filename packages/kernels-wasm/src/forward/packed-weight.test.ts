import { createRandom, type PackedWeight, QuantError, ShapeError } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { createForwardEngine } from './forward-engine.js';

const random = createRandom('packed weights');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const [outFeatures, inFeatures, groupSize] = [21, 96, 32];

function part(bits: 2 | 4 | 8): PackedWeight {
  const groups = inFeatures / groupSize;
  return {
    ...{ outFeatures, inFeatures, bits, groupSize },
    codes: Uint32Array.from({ length: (inFeatures * bits * outFeatures) / 32 }, () => random.integer(2 ** 32)),
    // Values of one magnitude at 4 and 8 bits: errors are bounded absolutely.
    scales: normals(groups * outFeatures).map((scale) => (bits === 8 ? scale / 16 : scale)),
    zeros: normals(groups * outFeatures),
  };
}

/** `[out, in]` in f64, a code at a time. */
function dense(parts: readonly PackedWeight[], order?: Int32Array): Float64Array {
  const out = new Float64Array(outFeatures * inFeatures);
  for (const { bits, codes, scales, zeros } of parts)
    for (let o = 0; o < outFeatures; o++)
      for (let i = 0; i < inFeatures; i++) {
        const word = codes[Math.floor((i * bits) / 32) * outFeatures + o];
        const grid = Math.floor(i / groupSize) * outFeatures + o;
        const code = (word >>> ((i * bits) % 32)) & (2 ** bits - 1);
        out[o * inFeatures + (order ? order[i] : i)] += (code - zeros[grid]) * scales[grid];
      }
  return out;
}

const order = Int32Array.from({ length: inFeatures }, (_, i) => (i * 5) % inFeatures);

describe('a packed weight on the forward engine', async () => {
  const engine = await createForwardEngine({ threads: 2 });
  const { ops, memory } = engine;
  afterAll(() => engine.dispose());
  const cases = [
    { name: 'of 4 bits', parts: [part(4)] },
    { name: 'of 2 bits', parts: [part(2)] },
    { name: 'of 8 bits', parts: [part(8)] },
    { name: 'with one zero point', parts: [{ ...part(4), zeros: new Float32Array(63).fill(7.5) }] },
    { name: 'of two parts in another order', parts: [part(4), part(8)], order },
    { name: 'of two parts', parts: [part(4), part(4)] },
    { name: 'with inputs in another order', parts: [part(4)], order },
  ];

  it.each(cases)('$name multiplies and is looked up as its values say', ({ parts, order }) => {
    const before = memory();
    const weight = engine.packedWeight!({ parts, ...(order ? { order } : {}) });
    const values = dense(parts, order);
    const bias = normals(outFeatures);
    for (const tokens of [1, 3, 20]) {
      const x = normals(tokens * inFeatures);
      const y = ops.scope(() =>
        ops.linear(ops.fromF32(x, [1, tokens, inFeatures]), weight, ops.fromF32(bias, [outFeatures])),
      );
      expect(ops.shape(y)).toEqual([1, tokens, outFeatures]);
      const actual = ops.dataSync(y);
      ops.dispose(y);
      for (let token = 0; token < tokens; token++)
        for (let o = 0; o < outFeatures; o++) {
          let sum = bias[o];
          for (let i = 0; i < inFeatures; i++) sum += x[token * inFeatures + i] * values[o * inFeatures + i];
          expect(Math.abs(actual[token * outFeatures + o] - sum)).toBeLessThan(1e-3);
        }
    }
    const rows = ops.embed(weight, Int32Array.of(20, 3), 1, 2);
    const looked = ops.dataSync(rows);
    ops.dispose(rows);
    for (let i = 0; i < inFeatures; i++) {
      expect(looked[i]).toBeCloseTo(values[20 * inFeatures + i], 4);
      expect(looked[inFeatures + i]).toBeCloseTo(values[3 * inFeatures + i], 4);
    }
    expect(() => ops.scope(() => ops.scale(weight, 2))).toThrow(QuantError);
    ops.dispose(weight);
    expect(memory()).toEqual(before);
  });

  it('refuses parts and orders that do not fit together', () => {
    const other = { ...part(4), outFeatures: 1, codes: new Uint32Array(12), scales: normals(3), zeros: normals(3) };
    expect(() => engine.packedWeight!({ parts: [] })).toThrow(ShapeError);
    expect(() => engine.packedWeight!({ parts: [part(4), other] })).toThrow(/differ/);
    expect(() => engine.packedWeight!({ parts: [part(4)], order: new Int32Array(inFeatures) })).toThrow(/once/);
  });

  it('reads rows of a matrix that stays in panels after a product', () => {
    const table = normals(11 * 300);
    const weight = ops.fromF32(table, [11, 300]);
    ops.dispose(ops.linear(ops.fromF32(normals(300), [1, 300]), weight));
    const held = memory().bytes;
    const rows = ops.embed(weight, Int32Array.of(10, 0), 1, 2);
    expect(ops.dataSync(rows)).toEqual(Float32Array.from([...table.subarray(3000), ...table.subarray(0, 300)]));
    expect(memory().bytes - held).toBeLessThan(4 * 11 * 300);
  });
});
