import { createRandom, ShapeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { basinRadius, scanLine, scanPlane } from './landscape.js';
import { combine, distance, randomPoint, type WeightPoint } from './weight-point.js';

const origin: WeightPoint = new Map([
  ['a', Float32Array.of(1, 2, 3)],
  ['b', Float32Array.of(-1)],
]);
const end: WeightPoint = new Map([
  ['a', Float32Array.of(1, 2, 6)],
  ['b', Float32Array.of(3)],
]);
/** Half the squared distance from the origin: its level lines are spheres. */
const bowl = async (point: WeightPoint) => 2 + distance(origin, point) ** 2 / 2;

describe('the landscape around a model', () => {
  it('scans lines: the loss of a bowl grows with the square of the step', async () => {
    const { distance: length, points } = await scanLine('line', origin, end, bowl, [-1, 0, 0.5, 2]);
    expect(length).toBeCloseTo(5, 6);
    expect(points.map(({ nll }) => nll)).toEqual([2 + 12.5, 2, 2 + 3.125, 2 + 50]);
  });

  it('scans planes: rows are steps along the second axis', async () => {
    const other: WeightPoint = new Map([
      ['a', Float32Array.of(2, 2, 3)],
      ['b', Float32Array.of(-1)],
    ]);
    const { nll } = await scanPlane(['o', 'first', 'second'], origin, [end, other], bowl, [0, 1]);
    // The two axes are orthogonal, of lengths 5 and 1.
    expect(nll[0][1] - 2).toBeCloseTo(12.5, 5);
    expect(nll[1][0] - 2).toBeCloseTo(0.5, 5);
    expect(nll[1][1] - 2).toBeCloseTo(13, 5);
  });

  it('finds the radius of a bowl: sqrt(2 rise) in every direction, from far too small and far too large starts', async () => {
    for (const start of [0.001, 0.3, 40]) {
      const { radii, radius } = await basinRadius(origin, start, bowl, createRandom(1), { rise: 0.1, directions: 2 });
      for (const each of [...radii, radius]) expect(each / Math.sqrt(0.2)).toBeCloseTo(1, 1);
    }
  });

  it('counts a loss that is not a number as outside', async () => {
    const cliff = async (point: WeightPoint) => (distance(origin, point) > 0.5 ? Number.NaN : 2);
    const { radius } = await basinRadius(origin, 1, cliff, createRandom(1), { directions: 1 });
    expect(radius / 0.5).toBeCloseTo(1, 1);
  });

  it('draws random points at their distance, the same from the same seed', () => {
    const point = randomPoint(origin, 2, createRandom('p'));
    expect(distance(origin, point)).toBeCloseTo(2, 5);
    expect(randomPoint(origin, 2, createRandom('p'))).toEqual(point);
  });

  it('refuses points of other modules by name', () => {
    expect(() => combine(origin, [new Map([['a', new Float32Array(3)]])], [1])).toThrow(ShapeError);
    expect(() => distance(origin, new Map([['a', new Float32Array(2)]]))).toThrow(/a: the other point has 2 weights/);
  });
});
