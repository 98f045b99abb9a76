import type { ExpertRow } from '@q/pipeline';
import { formatTable } from '../units.js';

/** One line for each block: the number of calibration tokens of its experts, and the experts with too few. */
export function expertsText(experts: readonly ExpertRow[]): string {
  const layers = new Map<string, ExpertRow[]>();
  for (const row of experts) {
    const layer = row.expert.replace(/\.[^.]*$/, '');
    layers.set(layer, [...(layers.get(layer) ?? []), row]);
  }
  const index = ({ expert }: ExpertRow) => expert.slice(expert.lastIndexOf('.') + 1);
  return formatTable(
    ['calibration tokens of experts', 'experts', 'fewest', 'most', 'not reached', 'rounded to nearest'],
    [...layers].map(([layer, rows]) => [
      layer,
      `${rows.length}`,
      `${Math.min(...rows.map(({ tokens }) => tokens))}`,
      `${Math.max(...rows.map(({ tokens }) => tokens))}`,
      rows
        .filter(({ tokens }) => tokens === 0)
        .map(index)
        .join(',') || '-',
      rows
        .filter(({ calibrated }) => !calibrated)
        .map(index)
        .join(',') || '-',
    ]),
  );
}
