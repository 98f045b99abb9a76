import { createRandom, type ForwardEngine, type Kernels, type RecordedProfile } from '@q/core';
import type { RunProfile } from '@q/pipeline';
import { formatTable } from '../units.js';

/** Rows, columns and depth of the product that measures the speed of the machine. */
const size = 1024;
const repetitions = 5;

const matrix = () => {
  const random = createRandom('peak');
  return Float32Array.from({ length: size * size }, () => random.normal());
};

/** Operations a second of the best of a few products. */
const peakOf = (milliseconds: readonly number[]) => (2 * size ** 3 * 1000) / Math.min(...milliseconds);

export async function kernelsPeakOf(kernels: Kernels): Promise<number> {
  const [a, b, times] = [matrix(), matrix(), [] as number[]];
  for (let i = 0; i < repetitions; i++) {
    const begun = performance.now();
    await kernels.matmul({ a, b, m: size, n: size, k: size });
    times.push(performance.now() - begun);
  }
  return peakOf(times);
}

export function enginePeakOf<T>({ ops }: ForwardEngine<T>): number {
  const upload = () => ops.fromF32(matrix(), [size, size]);
  const [x, weight, times] = [upload(), upload(), [] as number[]];
  for (let i = 0; i < repetitions; i++) {
    const begun = performance.now();
    // Reads one row: every engine has computed by then, and the copy of the rest is not timed.
    const row = ops.scope(() => ops.rows(ops.linear(x, weight), 0, 1));
    ops.dataSync(row);
    ops.dispose(row);
    times.push(performance.now() - begun);
  }
  ops.dispose(x);
  ops.dispose(weight);
  return peakOf(times);
}

/** @param begun start of the run, on the clock of `performance.now` */
export function runProfile(
  { stages }: RecordedProfile,
  begun: number,
  kernels: number,
  engine: number | undefined,
): RunProfile {
  const claimed = stages.reduce((sum, { seconds }) => sum + seconds, 0);
  return {
    stages,
    otherSeconds: Math.max(0, (performance.now() - begun) / 1000 - claimed),
    peak: { kernels, ...(engine === undefined ? {} : { engine }) },
  };
}

/** Head and rows of the table: the stage, seconds, share, calls, GFLOP, GFLOP/s, and that as a share of the peak. */
export function profileTable({ stages, otherSeconds, peak }: RunProfile): string[][] {
  const total = stages.reduce((sum, { seconds }) => sum + seconds, otherSeconds);
  const best = Math.max(peak.kernels, peak.engine ?? 0);
  const row = (stage: string, seconds: number, calls: string, operations: number) => [
    stage,
    seconds.toFixed(2),
    `${((100 * seconds) / total).toFixed(1)} %`,
    calls,
    ...(operations > 0 && seconds > 0
      ? [
          (operations / 1e9).toFixed(1),
          (operations / seconds / 1e9).toFixed(1),
          `${((100 * operations) / seconds / best).toFixed(0)} %`,
        ]
      : ['', '', '']),
  ];
  return [
    ['stage', 'seconds', 'share', 'calls', 'GFLOP', 'GFLOP/s', 'of the peak'],
    ...stages.map(({ stage, seconds, calls, operations }) => row(stage, seconds, `${calls}`, operations)),
    row('everything else', otherSeconds, '', 0),
    row(
      'all',
      total,
      '',
      stages.reduce((sum, { operations }) => sum + operations, 0),
    ),
  ];
}

export function peakText({ peak }: RunProfile): string {
  const giga = (speed: number) => (speed / 1e9).toFixed(0);
  const engine = peak.engine === undefined ? '' : `, by the engine ${giga(peak.engine)}`;
  return `a product of two matrices of ${size} here: by the kernels ${giga(peak.kernels)} GFLOP/s${engine}; the larger one is the peak`;
}

export function profileText(profile: RunProfile): string {
  const [header, ...rows] = profileTable(profile);
  return `${formatTable(header, rows)}\n${peakText(profile)}`;
}
