import type { Random } from '@q/core';
import { combine, distance, randomPoint, type WeightPoint } from './weight-point.js';

/** Mean negative log likelihood of the model with these weights, in nats per token. */
export type LossOf = (point: WeightPoint) => Promise<number>;

export interface LineScan {
  readonly name: string;
  /** Euclidean distance of the end from the origin. */
  readonly distance: number;
  /** `at` 0 is the origin, 1 is the end. */
  readonly points: readonly { readonly at: number; readonly nll: number }[];
}

/** Positions of a line scan: from a quarter before the origin to half the distance beyond the end. */
export const linePlaces = [-0.25, 0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1, 1.25, 1.5] as const;

/** The loss along the line from the origin through an end. */
export async function scanLine(
  name: string,
  origin: WeightPoint,
  end: WeightPoint,
  lossOf: LossOf,
  places: readonly number[] = linePlaces,
): Promise<LineScan> {
  const points = [];
  for (const at of places) points.push({ at, nll: await lossOf(combine(origin, [end], [at])) });
  return { name, distance: distance(origin, end), points };
}

export interface PlaneScan {
  /** Names of the three solutions: the origin, the end of the first axis, the end of the second axis. */
  readonly names: readonly [string, string, string];
  /** Positions along each of the two axes. */
  readonly steps: readonly number[];
  /** `nll[second][first]`, in the order of `steps`. */
  readonly nll: readonly (readonly number[])[];
}

/** The loss on the plane through three points. */
export async function scanPlane(
  names: readonly [string, string, string],
  origin: WeightPoint,
  ends: readonly [WeightPoint, WeightPoint],
  lossOf: LossOf,
  steps: readonly number[] = [-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25],
): Promise<PlaneScan> {
  const nll: number[][] = [];
  for (const second of steps) {
    const row: number[] = [];
    for (const first of steps) row.push(await lossOf(combine(origin, ends, [first, second])));
    nll.push(row);
  }
  return { names, steps, nll };
}

export interface BasinOptions {
  /** Rise of the loss that ends the basin, in nats. Default 0.1. */
  readonly rise?: number;
  /** Random directions. Default 3. */
  readonly directions?: number;
  /** Relative precision of a radius. Default 0.05. */
  readonly precision?: number;
}

export interface Basin {
  readonly rise: number;
  /** The radius along each random direction. */
  readonly radii: readonly number[];
  /** Their mean. */
  readonly radius: number;
}

/**
 * The radius of the basin around a point: the smallest distance along a random direction at which the loss has risen by
 * `rise`. It is found by doubling and bisection, and it is a mean over directions. The definition is ours: the abstract
 * of arXiv 2410.14570 mentions such a radius and does not define it.
 * @param start an initial distance, above 0
 */
export async function basinRadius(
  origin: WeightPoint,
  start: number,
  lossOf: LossOf,
  random: Random,
  { rise = 0.1, directions = 3, precision = 0.05 }: BasinOptions = {},
): Promise<Basin> {
  const base = await lossOf(origin);
  const radii: number[] = [];
  for (let k = 0; k < directions; k++) {
    const far = randomPoint(origin, start, random.fork(`direction ${k}`));
    const risen = async (radius: number) => {
      const nll = await lossOf(combine(origin, [far], [radius / start]));
      // A loss of NaN is far outside of the basin.
      return !(nll - base < rise);
    };
    let low = 0;
    let high = start;
    for (let doubled = 0; doubled < 20 && !(await risen(high)); doubled++) [low, high] = [high, 2 * high];
    while (low === 0 ? high > start / 1024 : high - low > precision * high) {
      const middle = (low + high) / 2;
      if (await risen(middle)) high = middle;
      else low = middle;
      if (low > 0 && high - low <= precision * high) break;
    }
    radii.push(high);
  }
  return { rise, radii, radius: radii.reduce((sum, radius) => sum + radius, 0) / directions };
}
