import type { Comparison } from './benchmark.js';
import { growthPower } from './growth.js';
import { baseline, type Measurement } from './measure.js';

/** Descriptions of the contenders below their least speed or above their most memory. */
export function shortfalls(comparison: Comparison, rows: readonly Measurement[]): string[] {
  const { title, atLeast = {} } = comparison;
  const beside = rows[baselineOf(comparison, rows)].name;
  const slow = rows
    .filter(({ name, ratio }) => name !== beside && ratio < (atLeast[name] ?? 0))
    .map(
      ({ name, ratio }) =>
        `${title}: ${name} has ${ratio.toFixed(3)} of the speed of ${beside}, at least ${share(atLeast[name])} was expected`,
    );
  const large = rows
    .map((row) => ({ name: row.name, ...memoryShare(comparison, rows, row) }))
    .filter(({ taken, wanted }) => taken !== undefined && wanted !== undefined && taken > wanted)
    .map(
      ({ name, taken, wanted }) =>
        `${title}: ${name} has ${taken?.toFixed(3)} of the memory of the leanest peer, at most ${wanted && share(wanted)} was expected`,
    );
  return [...slow, ...large];
}

/** A comparison as aligned text. */
export function formatComparison(comparison: Comparison, rows: readonly Measurement[]): string {
  const { title, unit, atLeast = {}, growth } = comparison;
  const width = Math.max(24, ...rows.map(({ name }) => name.length));
  const first = baselineOf(comparison, rows);
  const lines = rows.map((row, i) => {
    const { name, milliseconds, spread, rate, ratio } = row;
    const wanted = atLeast[name];
    const verdict =
      wanted === undefined ? '' : ratio >= wanted ? `  (at least ${share(wanted)})` : `  BELOW ${share(wanted)}`;
    const time = `${milliseconds.toPrecision(4)} ms`.padStart(14);
    const timed = `  ${name.padEnd(width)}${time}  ±${(100 * spread).toFixed(0).padStart(2)} %`;
    if (growth) return timed;
    const speed = `${formatRate(rate)}${unit}/s`.padStart(20);
    return `${timed}${speed}${formatMemory(comparison, rows, row)}  ${i === first ? '' : `x${ratio.toPrecision(3)}${verdict}`}`;
  });
  return [title, ...lines, ...(growth ? [formatGrowth(growth, rows)] : [])].join('\n');
}

function formatGrowth({ quantity, sizes }: NonNullable<Comparison['growth']>, rows: readonly Measurement[]): string {
  const power = growthPower(
    sizes,
    rows.map(({ milliseconds }) => milliseconds),
  );
  return Number.isNaN(power)
    ? '  one size: no power'
    : `  time grows with the power ${power.toFixed(2)} of the ${quantity}`;
}

function formatMemory(comparison: Comparison, rows: readonly Measurement[], row: Measurement): string {
  if (!rows.some(({ peakBytes }) => peakBytes !== undefined)) return '';
  if (row.peakBytes === undefined) return ''.padStart(12);
  const { taken, wanted } = memoryShare(comparison, rows, row);
  const verdict =
    taken === undefined || wanted === undefined
      ? ''
      : ` (${taken.toFixed(2)} of the leanest${taken > wanted ? `, ABOVE ${share(wanted)}` : ''})`;
  return `${`${(row.peakBytes / 1e6).toFixed(0)} MB`.padStart(12)}${verdict}`;
}

/** Memory of a contender as a share of the leanest peer's, if both are known, and the allowed share. */
function memoryShare(
  { contenders, atMostMemory = {} }: Comparison,
  rows: readonly Measurement[],
  { name, peakBytes }: Measurement,
): { readonly taken?: number; readonly wanted?: number } {
  const peers = rows.flatMap((row, i) => (contenders[i].peer && row.peakBytes !== undefined ? [row.peakBytes] : []));
  if (peers.length === 0 || peakBytes === undefined) return {};
  return { taken: peakBytes / Math.min(...peers), wanted: atMostMemory[name] };
}

/** At most three digits: 4 is 4, a third is 0.333. */
const share = (value: number) => String(Number(value.toPrecision(3)));

const baselineOf = ({ contenders }: Comparison, rows: readonly Measurement[]) =>
  baseline(
    contenders,
    rows.map(({ milliseconds }) => milliseconds),
  );

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
