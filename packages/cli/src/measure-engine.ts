import type { Engine, Random } from '@q/core';

/** Rows, columns and depth of the product that is timed. */
export const measuredSize = 1024;

/** Repetitions, and the time after which no further one is begun. */
const [repetitions, patience] = [7, 1500];

/**
 * Speed of an engine: a product of two f32 matrices of 1024 x 1024, 2 n^3 operations, the median of a few runs after one
 * that warms up.
 * @returns GFLOP/s
 */
export function measureProducts<T>({ ops }: Engine<T>, random: Random): number {
  const n = measuredSize;
  const matrix = () =>
    ops.fromF32(
      Float32Array.from({ length: n * n }, () => random.normal()),
      [n, n],
    );
  const [x, weight] = [matrix(), matrix()];
  const times: number[] = [];
  const started = performance.now();
  const once = () => {
    const begun = performance.now();
    // One row is read: every backend has computed by then, and the copy of the rest is not counted.
    const row = ops.scope(() => ops.rows(ops.linear(x, weight), 0, 1));
    ops.dataSync(row);
    ops.dispose(row);
    return performance.now() - begun;
  };
  let time = once();
  while (times.length < repetitions && performance.now() - started < patience) {
    time = once();
    times.push(time);
  }
  ops.dispose(x);
  ops.dispose(weight);
  const median = times.length > 0 ? (times.sort((a, b) => a - b)[times.length >> 1] as number) : time;
  return (2 * n ** 3) / (median * 1e6);
}
