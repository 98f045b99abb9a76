import {
  createRandom,
  dequantize,
  f32Scale,
  type NumberFormat,
  nf4,
  perChannel,
  perGroup,
  perTensor,
  type QuantizedTensor,
  quantize,
  scheme,
  signedIntegers,
  tensor,
  unsignedIntegers,
} from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { afterAll, describe, expect, it } from 'vitest';
import { packedParts } from './packed-parts.js';

const random = createRandom('packed parts');
const [rows, columns] = [10, 64];
const weight = tensor(
  'f32',
  [rows, columns],
  Float32Array.from({ length: rows * columns }, () => random.normal()),
);
const bits = (n: number, signed: boolean) => (signed ? signedIntegers : unsignedIntegers)[n - 2] as NumberFormat;

describe('packed parts', async () => {
  const engine = await createForwardEngine({ threads: 1 });
  const { ops } = engine;
  afterAll(() => engine.dispose());

  /** Every row of the weight as the engine holds it. */
  function values(quantized: QuantizedTensor): Float32Array {
    const handle = engine.packedWeight!(packedParts(quantized)!);
    const all = ops.embed(
      handle,
      Int32Array.from({ length: rows }, (_, i) => i),
      1,
      rows,
    );
    const found = ops.dataSync(all);
    ops.dispose(all);
    ops.dispose(handle);
    return found;
  }

  function expectSame(quantized: QuantizedTensor) {
    const [found, expected] = [values(quantized), dequantize(quantized).data];
    for (const [i, value] of found.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-5);
  }

  const granularities = [perChannel, perGroup(32), perGroup(16), perTensor];
  it.each([2, 3, 4, 5, 6, 8].flatMap((n) => [true, false].map((signed) => ({ n, signed }))))(
    'hold the values of $n bits, signed $signed, in every grouping',
    ({ n, signed }) => {
      for (const granularity of granularities)
        expectSame(
          quantize(
            weight,
            scheme({
              format: bits(n, signed),
              granularity,
              zeroPoint: signed ? 'none' : 'integer',
              scaleStorage: f32Scale,
            }),
          ),
        );
    },
  );

  it('take groups that are not consecutive columns in an order of their own', () => {
    const plain = quantize(weight, scheme({ format: bits(4, true), granularity: perGroup(16) }));
    expectSame({ ...plain, groupIndex: Int32Array.from({ length: columns }, (_, i) => (i * 7) % 4) });
    const uneven = Int32Array.from({ length: columns }, (_, i) => (i === 0 ? 3 : i % 4));
    expect(packedParts({ ...plain, groupIndex: uneven })).toBeUndefined();
  });

  it('are nothing for tables of values and groups that are no whole words', () => {
    expect(packedParts(quantize(weight, scheme({ format: nf4, granularity: perGroup(32) })))).toBeUndefined();
    expect(packedParts(quantize(weight, scheme({ format: bits(4, true), granularity: perGroup(12) })))).toBeUndefined();
  });
});
