import { expect, it } from 'vitest';
import { lion } from './lion.js';

it('takes the steps of its definition', () => {
  const x = Float32Array.of(1, -2);
  const optimizer = lion({ decay: 0.5 });
  const gradients = [Float32Array.of(1, -1), Float32Array.of(-20, 0.5)];
  const [m, expected] = [
    [0, 0],
    [1, -2],
  ];
  for (const g of gradients) {
    optimizer.step(new Map([['x', x]]), new Map([['x', g]]), () => 0.1);
    for (const i of [0, 1]) {
      const direction = 0.9 * m[i] + 0.1 * g[i];
      m[i] = 0.95 * m[i] + 0.05 * g[i];
      expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * Math.sign(direction);
    }
  }
  for (const i of [0, 1]) expect(x[i]).toBeCloseTo(expected[i], 5);
  const copy = lion({ decay: 0.5 });
  copy.load(optimizer.save());
  expect(copy.save()).toEqual(optimizer.save());
});
