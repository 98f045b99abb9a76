import {
  createRandom,
  dequantize,
  f16Scale,
  f32Scale,
  nf4,
  perChannel,
  perFlat,
  perGroup,
  perTensor,
  type QuantizedTensor,
  quantize,
  type Scheme,
  scheme,
  signedIntegers,
  tensor,
  ternary,
  unsignedIntegers,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { blockShape, packBlocks } from './pack-blocks.js';

const random = createRandom('pack blocks');
const weight = (rows: number, columns: number) =>
  tensor(
    'f32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => random.normal()),
  );

/** Values by the definition of MatMulNBits: codes from the lowest bit on, each row in blocks, zero points in whole bytes. */
function valuesOf(bytes: readonly Uint8Array[], bits: number, blockSize: number, rows: number, columns: number) {
  const [codes, scaleBytes, zeroBytes] = bytes as [Uint8Array, Uint8Array, Uint8Array | undefined];
  const scales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, scaleBytes.length / 4);
  const blocks = Math.ceil(columns / blockSize);
  const read = (all: Uint8Array, position: number) => (all[position >> 3]! >> (position & 7)) & (2 ** bits - 1);
  const zeroRow = Math.ceil((blocks * bits) / 8) * 8;
  return Float32Array.from({ length: rows * columns }, (_, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns];
    const block = Math.floor(column / blockSize);
    const code = read(codes, (row * blocks * blockSize + column) * bits);
    const zero = zeroBytes ? read(zeroBytes, row * zeroRow + block * bits) : 2 ** (bits - 1);
    return (code - zero) * scales[row * blocks + block]!;
  });
}

const schemes: Record<string, Scheme> = {
  'uint4, groups of 32': scheme({
    format: unsignedIntegers[2]!,
    granularity: perGroup(32),
    zeroPoint: 'integer',
    scaleStorage: f32Scale,
  }),
  'int4, groups of 128': scheme({ format: signedIntegers[2]!, granularity: perGroup(128), scaleStorage: f32Scale }),
  'int3, groups of 32': scheme({ format: signedIntegers[1]!, granularity: perGroup(32), scaleStorage: f16Scale }),
  'uint2, groups of 16': scheme({
    format: unsignedIntegers[0]!,
    granularity: perGroup(16),
    zeroPoint: 'integer',
    scaleStorage: f32Scale,
  }),
  'int8, a scale a row': scheme({ format: signedIntegers[6]!, granularity: perChannel, scaleStorage: f32Scale }),
  'uint6, one scale': scheme({
    format: unsignedIntegers[4]!,
    granularity: perTensor,
    zeroPoint: 'integer',
    scaleStorage: f32Scale,
  }),
  'int4, flat blocks of 64': scheme({ format: signedIntegers[2]!, granularity: perFlat(64), scaleStorage: f32Scale }),
  ternary: scheme({ format: ternary, granularity: perChannel, scaleStorage: f32Scale }),
};

describe('blocks of MatMulNBits', () => {
  it.each(Object.keys(schemes))('hold the values of %s', (name) => {
    const own = schemes[name]!;
    for (const columns of own.granularity.kind === 'flat' ? [192] : [192, 200]) {
      const quantized = quantize(weight(5, columns), own);
      const shape = blockShape('w', own, 5, columns);
      const bytes = packBlocks(quantized, shape, 'f32', 0, 5);
      expect(valuesOf(bytes, shape.bits, shape.blockSize, 5, columns)).toEqual(dequantize(quantized).data);
      const part = packBlocks(quantized, shape, 'f32', 2, 4);
      expect(valuesOf(part, shape.bits, shape.blockSize, 2, columns)).toEqual(
        dequantize(quantized).data.subarray(2 * columns, 4 * columns),
      );
    }
  });

  it('hold codes whose groups are not neighbours in the order of the groups', () => {
    const own = schemes['uint4, groups of 32']!;
    const quantized = quantize(weight(3, 128), own);
    const groupIndex = Int32Array.from({ length: 128 }, (_, j) => (j * 5) % 4);
    const reordered: QuantizedTensor = { ...quantized, groupIndex };
    const shape = blockShape('w', own, 3, 128, groupIndex);
    const values = valuesOf(packBlocks(reordered, shape, 'f32', 0, 3), shape.bits, shape.blockSize, 3, 128);
    const wanted = dequantize(reordered).data;
    for (let row = 0; row < 3; row++)
      for (let place = 0; place < 128; place++)
        expect(values[row * 128 + place]).toBe(wanted[row * 128 + shape.order![place]!]);
  });

  it('say what they cannot hold', () => {
    const floats = scheme({ format: nf4, granularity: perGroup(64), scaleStorage: f32Scale });
    expect(() => blockShape('w', floats, 4, 64)).toThrow(/w: values of nf4, which are not whole numbers/);
    const odd = scheme({ format: signedIntegers[2]!, granularity: perGroup(24), scaleStorage: f32Scale });
    expect(() => blockShape('w', odd, 4, 96)).toThrow(/groups of 24 columns/);
    const wide = scheme({
      format: unsignedIntegers[6]!,
      granularity: perGroup(32),
      zeroPoint: 'float',
      scaleStorage: f32Scale,
    });
    expect(() => blockShape('w', wide, 4, 64)).toThrow(/zero points that are no whole numbers, with 8 bits/);
    const ragged = Int32Array.from({ length: 64 }, (_, j) => (j < 20 ? 0 : 1));
    expect(() => blockShape('w', schemes['uint4, groups of 32']!, 4, 64, ragged)).toThrow(/groups of different sizes/);
  });
});
