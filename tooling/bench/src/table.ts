import type { Comparison } from './benchmark.js';
import type { Measurement } from './measure.js';

/** Contenders that stay below their least speed, in words. */
export function shortfalls({ title, atLeast = {}, contenders }: Comparison, rows: readonly Measurement[]): string[] {
  return rows
    .filter(({ name, ratio }) => ratio < (atLeast[name] ?? 0))
    .map(
      ({ name, ratio }) =>
        `${title}: ${name} has ${ratio.toFixed(3)} of the speed of ${contenders[0].name}, at least ${atLeast[name]} was expected`,
    );
}

/** A comparison as aligned text. */
export function formatComparison({ title, unit, atLeast = {} }: Comparison, rows: readonly Measurement[]): string {
  const width = Math.max(24, ...rows.map(({ name }) => name.length));
  const lines = rows.map(({ name, milliseconds, spread, rate, ratio }, i) => {
    const wanted = atLeast[name];
    const verdict = wanted === undefined ? '' : ratio >= wanted ? `  (at least ${wanted})` : `  BELOW ${wanted}`;
    const time = `${milliseconds.toPrecision(4)} ms`.padStart(14);
    const speed = `${formatRate(rate)}${unit}/s`.padStart(20);
    return `  ${name.padEnd(width)}${time}  ±${(100 * spread).toFixed(0).padStart(2)} %${speed}  ${i === 0 ? '' : `x${ratio.toPrecision(3)}${verdict}`}`;
  });
  return [title, ...lines].join('\n');
}

function formatRate(rate: number): string {
  for (const [size, prefix] of [
    [1e12, 'T'],
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (rate >= size) return `${(rate / size).toPrecision(3)} ${prefix}`;
  }
  return `${rate.toPrecision(3)} `;
}
