import type { NumberFormat, RoundingGrid } from '@q/core';

/** The grid of the sweep: the integers of a linear format, or the sorted finite levels of any other. */
export function roundingGrid(format: NumberFormat): RoundingGrid {
  if (format.family === 'linear') return { kind: 'linear', min: format.min, max: format.max };
  const byLevel = new Map<number, number>();
  for (let code = 0; code < 2 ** format.bits; code++) {
    const level = format.decode(code) + 0; // -0 and 0 are one level
    if (Number.isFinite(level) && !byLevel.has(level)) byLevel.set(level, code);
  }
  const sorted = [...byLevel].sort(([a], [b]) => a - b);
  return {
    kind: 'levels',
    levels: Float32Array.from(sorted, ([level]) => level),
    codes: Uint8Array.from(sorted, ([, code]) => code),
  };
}
