import type { RefineProblem } from './refine.js';

/** First columns and ends: of the groups, or of blocks when scales stay. */
export function blocksOf({ columns, group, blockSize, refitScales }: RefineProblem): [number, number][] {
  const blocks: [number, number][] = [];
  for (let start = 0, end = 0; start < columns; start = end) {
    end = refitScales ? start + 1 : Math.min(start + blockSize, columns);
    while (refitScales && end < columns && group[end] === group[start]) end++;
    blocks.push([start, end]);
  }
  return blocks;
}
