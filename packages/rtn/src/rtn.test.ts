import { createContext, minMax, perGroup, quantize, scheme, tensor, uint4 } from '@q/core';
import { describe, expect, it } from 'vitest';
import { rtn } from './rtn.js';

describe('rtn', () => {
  it('needs no statistics and rounds as core does', async () => {
    const weight = tensor(
      'f32',
      [2, 6],
      Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)),
    );
    const of = scheme({ format: uint4, granularity: perGroup(4), zeroPoint: 'integer' });
    const method = rtn({ fit: minMax() });
    expect(method.needs).toEqual([]);
    const statistics = {
      get: () => {
        throw new Error('nothing was collected');
      },
      has: () => false,
    };
    const { quantized, report } = await method.quantize(weight, statistics, of, createContext());
    expect(quantized).toEqual(quantize(weight, of, { fit: minMax() }));
    expect(report).toEqual({ method: 'rtn', tokens: 0, figures: {}, notes: [] });
  });
});
