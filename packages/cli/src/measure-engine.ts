import type { Engine, Random } from '@q/core';

/** Speed of an engine in products of two f32 matrices. */
export interface ProductSpeed {
  /** 2 size^3 operations over the median time. */
  readonly gflops: number;
  /** Rows, columns and depth: 1024, or 256 on an engine that would take seconds. */
  readonly size: number;
}

const repetitions = 7;

/** Measures a product, after a first one for warm-up. */
export function measureProducts<T>(engine: Engine<T>, random: Random): ProductSpeed {
  const small = timeProducts(engine, random, 256, 2);
  const size = 64 * small > 2000 ? 256 : 1024;
  const median = timeProducts(engine, random, size, repetitions);
  return { gflops: (2 * size ** 3) / (median * 1e6), size };
}

/** Median time of a product of n x n matrices, in milliseconds. */
function timeProducts<T>({ ops }: Engine<T>, random: Random, n: number, count: number): number {
  const matrix = () =>
    ops.fromF32(
      Float32Array.from({ length: n * n }, () => random.normal()),
      [n, n],
    );
  const [x, weight] = [matrix(), matrix()];
  const once = () => {
    const begun = performance.now();
    // Reads one row: every engine has computed by then, and the copy of the rest is not timed.
    const row = ops.scope(() => ops.rows(ops.linear(x, weight), 0, 1));
    ops.dataSync(row);
    ops.dispose(row);
    return performance.now() - begun;
  };
  once();
  const times = Array.from({ length: count }, once).sort((a, b) => a - b);
  ops.dispose(x);
  ops.dispose(weight);
  return times[count >> 1] as number;
}
