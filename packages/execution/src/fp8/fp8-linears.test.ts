import { NumericError, type Ops, type Runtime, roundFp8Input, schemes } from '@q/core';
import { describe, expect, it } from 'vitest';
import { fp8Linears } from './fp8-linears.js';

interface Handle {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

const disposed: Handle[] = [];
const ops = {
  fromF32: (data: Float32Array, shape: readonly number[]) => ({ data, shape }),
  shape: (x: Handle) => x.shape,
  dataSync: (x: Handle) => x.data,
  dispose: (x: Handle) => disposed.push(x),
} as unknown as Ops<Handle>;
const runtime = { ops } as Runtime<Handle>;
const activation = { scheme: schemes.activations.fp8RowWise, bound: 1200 };
const x = { data: Float32Array.from({ length: 12 }, (_, i) => 1.3 ** i), shape: [1, 3, 4] };

describe('linears with FP8 inputs', () => {
  it('get rounded inputs, one scale a token; other linears get theirs as they are', () => {
    const { linear } = fp8Linears<Handle>(new Map([['m', activation]]));
    const seen: Handle[] = [];
    const inner = (_: string, input: Handle) => {
      seen.push(input);
      return input;
    };
    linear?.('m', x, inner, runtime);
    linear?.('other', x, inner, runtime);
    expect(seen[0]).toEqual({ data: roundFp8Input(x.data, 4, activation), shape: [1, 3, 4] });
    expect(seen[1]).toBe(x);
    expect(disposed).toEqual([seen[0]]);
  });

  it('name the module of a scheme that cannot be run, or of an input that is not finite', () => {
    const wrapped = (of: typeof activation | { scheme: typeof schemes.activations.fp8Static }) =>
      fp8Linears<Handle>(new Map([['m', of]]));
    expect(() => wrapped({ scheme: schemes.activations.fp8Static })).toThrow('m: its static scale is not known');
    expect(() => wrapped({ ...activation, bound: -1 })).toThrow('m: a bound of -1');
    const infinite = { data: Float32Array.of(1, Number.POSITIVE_INFINITY), shape: [1, 2] };
    const run = () => wrapped(activation).linear?.('m', infinite, (_, input) => input, runtime);
    expect(run).toThrow(NumericError);
    expect(run).toThrow('m: the input holds Infinity at element 1');
  });
});
