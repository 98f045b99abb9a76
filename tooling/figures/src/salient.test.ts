import { perGroup, scheme, uint3 } from '@q/core';
import { describe, expect, it } from 'vitest';
import { chooseChannels, keepChannels, scaleChannels } from './salient.js';

const target = scheme({ format: uint3, granularity: perGroup(4), zeroPoint: 'integer' });
/** Two rows of eight channels; column 6 has the largest norm. */
const weight = Float32Array.of(0.1, -0.4, 0.33, 0.2, 0.7, -0.21, 3, 0.05, -0.3, 0.6, 0.12, -0.9, 0.4, 0.17, -2, 0.8);
const magnitudes = Float64Array.of(1, 9, 2, 3, 8, 1, 0.5, 1);

describe('the experiment with salient channels', () => {
  it('chooses the share that a criterion puts first, at least one', () => {
    expect(chooseChannels('activation', 0.25, weight, magnitudes, 'seed')).toEqual([1, 4]);
    expect(chooseChannels('weight', 0.125, weight, magnitudes, 'seed')).toEqual([6]);
    expect(chooseChannels('activation', 0.01, weight, magnitudes, 'seed')).toEqual([1]);
    const random = chooseChannels('random', 0.5, weight, magnitudes, 'seed');
    expect(new Set(random).size).toBe(4);
    expect(chooseChannels('random', 0.5, weight, magnitudes, 'seed')).toEqual(random);
    expect(chooseChannels('random', 0.5, weight, magnitudes, 'other')).not.toEqual(random);
  });

  it('keeps chosen columns as they are and rounds the others as without them', () => {
    const rounded = keepChannels(weight, 8, [], target);
    const kept = keepChannels(weight, 8, [1, 6], target);
    for (let i = 0; i < weight.length; i++) expect(kept[i]).toBe([1, 6].includes(i % 8) ? weight[i] : rounded[i]);
    // Groups of four, range with zero, seven steps: row 0 has -0.4 to 0.33, its codes reach from 0 to 7.
    const step = (0.33 + 0.4) / 7;
    for (let i = 0; i < 4; i++) expect(Math.abs(rounded[i] - weight[i])).toBeLessThan(1.01 * step);
    expect(rounded.some((value, i) => value !== weight[i])).toBe(true);
  });

  it('scales chosen columns before rounding and takes that back: half the error of a column that does not stretch its group', () => {
    const small = Float32Array.of(1, 0.22, 0.5, 0, 1, 0.36, 0.5, 0);
    const error = (values: Float32Array) => Math.abs(values[1] - small[1]);
    const plain = keepChannels(small, 8, [], target);
    const scaled = scaleChannels(small, 8, [1], 2, target);
    // Step 1/7 in both: 0.22 -> 2/7, but 0.44 -> 3/7, which is 1.5/7 taken back.
    expect(plain[1]).toBeCloseTo(2 / 7, 3);
    expect(scaled[1]).toBeCloseTo(1.5 / 7, 3);
    expect(error(scaled)).toBeLessThan(error(plain) / 2);
    expect(scaled[0]).toBe(plain[0]);
  });
});
