import { type Random, ShapeError } from '@q/core';

/** Weights of some modules, `[out, in]` row-major: a point in the space of the quantized weights. */
export type WeightPoint = ReadonlyMap<string, Float32Array>;

/** Euclidean distance over all modules. */
export function distance(a: WeightPoint, b: WeightPoint): number {
  let sum = 0;
  for (const [module, values] of a) {
    const other = valuesOf(b, module, values.length);
    for (let i = 0; i < values.length; i++) sum += (values[i] - other[i]) ** 2;
  }
  return Math.sqrt(sum);
}

/** `origin + sum_k steps[k] (ends[k] - origin)`. */
export function combine(origin: WeightPoint, ends: readonly WeightPoint[], steps: readonly number[]): WeightPoint {
  return new Map(
    [...origin].map(([module, values]) => {
      const moved = Float64Array.from(values);
      ends.forEach((end, k) => {
        const other = valuesOf(end, module, values.length);
        for (let i = 0; i < values.length; i++) moved[i] += steps[k] * (other[i] - values[i]);
      });
      return [module, Float32Array.from(moved)];
    }),
  );
}

/** A point at a distance from the origin in a random direction, normally distributed over all weights. */
export function randomPoint(origin: WeightPoint, radius: number, random: Random): WeightPoint {
  const directions = new Map(
    [...origin].map(([module, values]): [string, Float64Array] => {
      const own = random.fork(module);
      return [module, Float64Array.from(values, () => own.normal())];
    }),
  );
  let sum = 0;
  for (const values of directions.values()) for (const x of values) sum += x * x;
  const scale = radius / Math.sqrt(sum);
  return new Map(
    [...origin].map(([module, values]) => {
      const direction = directions.get(module) as Float64Array;
      return [module, values.map((value, i) => value + scale * direction[i])];
    }),
  );
}

function valuesOf(point: WeightPoint, module: string, length: number): Float32Array {
  const values = point.get(module);
  if (values?.length !== length)
    throw new ShapeError(
      `${module}: the other point ${values ? `has ${values.length} weights` : 'does not have it'}, expected ${length}`,
    );
  return values;
}
