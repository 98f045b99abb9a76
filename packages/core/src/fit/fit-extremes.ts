import type { ScaleFit } from '../contracts/scale-fit.js';

/** `fitGroups` for a fit that uses only the outermost values of a row: it receives only these instead of the row. */
export function fitExtremes(fit: Pick<ScaleFit, 'fit'>): NonNullable<ScaleFit['fitGroups']> {
  return (groups, grids) => {
    const rows = groups.scale.length;
    const values = new Float32Array(2 * rows);
    grids.extremes(groups, values);
    fit.fit({ ...groups, values, rows, columns: 2, importance: undefined });
    return true;
  };
}
